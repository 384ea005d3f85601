#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Serves a configuration with build/pacer; for the coach example it says, once the server is ready, what to paste.
set -eu

cd "$(dirname "$0")/.."
config=$1

hint() {
    cat <<'TEXT'

run: the coach example is served on http://127.0.0.1:8080 (Ctrl-C stops it). Paste this in a second terminal, in this folder:

  curl -s http://127.0.0.1:8080/api/coach/recommend -H 'content-type: application/json' -d @examples/coach/request.json

  also: /v2/models/regime    /api/contracts    /openapi.json

TEXT
}

# Waits beside the server, which takes this shell's place and process id.
hint_when_ready() {
    tries=0
    while kill -0 $$ 2>/dev/null && [ $tries -lt 300 ]; do
        if curl -s -o /dev/null --max-time 1 http://127.0.0.1:8080/v2/health/ready; then
            sleep 0.2 # a server that could not listen, because another one answered here, has ended by now
            kill -0 $$ 2>/dev/null && hint
            return
        fi
        sleep 0.1
        tries=$((tries + 1))
    done
}

[ "$config" = examples/coach/pacer.yaml ] && hint_when_ready &
exec build/pacer serve "$config"
