-- SPDX-License-Identifier: Apache-2.0
-- wrk script: posts the bodies of a file (one per line) in turn and prints the result as one line
-- of JSON. Arguments after `--`: BODIES [SALT]. With SALT the first value of every row is made one
-- of its own: no two requests of a run, or of runs with other salts, carry the same features.

local requests, parts, count, salt = {}, {}, 0, nil
local next_row, sent = 1, 0

function init(args)
    salt = tonumber(args[2])
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/json"
    for body in io.lines(args[1]) do
        count = count + 1
        if salt then
            local head, tail = body:match('^(.-"data":%[)[^,]*(.*)$')
            parts[count] = { head, tail }
        else
            requests[count] = wrk.format(nil, nil, nil, body)
        end
    end
end

function request()
    local row = next_row
    next_row = row % count + 1
    if not salt then
        return requests[row]
    end
    sent = sent + 1
    local part = parts[row]
    local value = string.format("%.7f", salt * 0.1 + sent * 1e-7)
    return wrk.format(nil, nil, nil, part[1] .. value .. part[2])
end

function done(summary, latency, _)
    local e = summary.errors
    local line = '{"requests":%d,"duration_us":%d,"connect":%d,"read":%d,"write":%d,"status":%d,'
        .. '"timeout":%d,"p50_us":%d,"p90_us":%d,"p99_us":%d,"max_us":%d}\n'
    io.write(line:format(summary.requests, summary.duration, e.connect, e.read, e.write,
        e.status, e.timeout, latency:percentile(50), latency:percentile(90),
        latency:percentile(99), latency.max))
end
