# bash completion for pacer, printed by: pacer completion bash
_pacer() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    local command=${COMP_WORDS[1]} words=
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W 'serve check run inspect quantize bench version help completion --help --version' -- "$cur")
        return
    fi
    case $command:$prev in
    serve:--listen) return ;;
    serve:--ops-listen) return ;;
    serve:--models) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
    serve:--watch-models) return ;;
    serve:--threads) return ;;
    serve:--workers) return ;;
    serve:--log-level) mapfile -t COMPREPLY < <(compgen -W 'debug info warn error' -- "$cur"); return ;;
    serve:--log-format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur"); return ;;
    serve:--drain) return ;;
    serve:--request-timeout) return ;;
    serve:--body-max) return ;;
    serve:--cors-origin) return ;;
    serve:--set) return ;;
    check:--listen) return ;;
    check:--ops-listen) return ;;
    check:--models) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
    check:--watch-models) return ;;
    check:--threads) return ;;
    check:--workers) return ;;
    check:--log-level) mapfile -t COMPREPLY < <(compgen -W 'debug info warn error' -- "$cur"); return ;;
    check:--log-format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur"); return ;;
    check:--drain) return ;;
    check:--request-timeout) return ;;
    check:--body-max) return ;;
    check:--cors-origin) return ;;
    check:--set) return ;;
    run:-i | run:--input) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    run:-o | run:--output) return ;;
    quantize:-c | quantize:--calibrate) return ;;
    quantize:-d | quantize:--data) return ;;
    quantize:--method) mapfile -t COMPREPLY < <(compgen -W 'minmax percentile entropy' -- "$cur"); return ;;
    quantize:--percentile) return ;;
    quantize:--reduce-range) mapfile -t COMPREPLY < <(compgen -W 'auto on off' -- "$cur"); return ;;
    quantize:--target) mapfile -t COMPREPLY < <(compgen -W 'this vnni avx2 arm' -- "$cur"); return ;;
    quantize:--exclude) return ;;
    quantize:--ops) return ;;
    quantize:--max-flips) return ;;
    quantize:--min-snr) return ;;
    quantize:--max-rmse) return ;;
    quantize:-b | quantize:--batch) return ;;
    quantize:--seconds) return ;;
    quantize:--rows) return ;;
    quantize:--seed) return ;;
    quantize:--threads) return ;;
    quantize:-r | quantize:--report) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    bench:-d | bench:--data) return ;;
    bench:-b | bench:--batch) return ;;
    bench:--seconds) return ;;
    bench:--rows) return ;;
    bench:--seed) return ;;
    bench:--threads) return ;;
    esac
    if [[ $cur == -* ]]; then
        case $command in
        serve) words='--listen --ops-listen --models --watch-models --threads --workers --log-level --log-format --access-log --drain --request-timeout --body-max --cors-origin --set --help' ;;
        check) words='--listen --ops-listen --models --watch-models --threads --workers --log-level --log-format --access-log --drain --request-timeout --body-max --cors-origin --json --set --help' ;;
        run) words='--input --output --quantized --help' ;;
        inspect) words='--json --help' ;;
        quantize) words='--calibrate --data --method --percentile --per-channel --reduce-range --target --exclude --ops --max-flips --min-snr --max-rmse --batch --seconds --rows --seed --threads --no-evidence --force --report --json --quiet --help' ;;
        bench) words='--data --batch --seconds --rows --seed --threads --json --quiet --help' ;;
        version) words='--json --help' ;;
        help) words='--help' ;;
        completion) words='--help' ;;
        esac
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
        return
    fi
    case $command in
    serve) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    check) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    run) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    inspect) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    quantize) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    bench) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    help) mapfile -t COMPREPLY < <(compgen -W 'serve check run inspect quantize bench version help completion exit-codes' -- "$cur") ;;
    completion) mapfile -t COMPREPLY < <(compgen -W 'bash zsh fish' -- "$cur") ;;
    esac
}
complete -o filenames -F _pacer pacer
