-- Tells what wrk has counted, as one line of JSON. With paths as arguments they are asked for in turn.

local paths = {}
local turn = 0

function init(args)
    for _, path in ipairs(args) do
        paths[#paths + 1] = wrk.format("GET", path)
    end
    if #paths > 0 then
        request = function()
            turn = turn % #paths + 1
            return paths[turn]
        end
    end
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '\n{"requests": %d, "seconds": %.6f, "p50": %d, "p99": %d, "not_2xx": %d, "broken": %d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
        errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
