#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Serves a configuration with build/pacer; for the coach example it also says what to paste.
set -eu

cd "$(dirname "$0")/.."
config=$1
if [ "$config" = examples/coach/pacer.yaml ]; then
    cat <<'TEXT'

run: the coach example on http://127.0.0.1:8080 (stop it with Ctrl-C). In a second terminal, in this folder:

  curl -s http://127.0.0.1:8080/api/coach/recommend -H 'content-type: application/json' -d @examples/coach/request.json

  also: /v2/models/regime    /api/contracts    /openapi.json

TEXT
fi
exec build/pacer serve "$config"
