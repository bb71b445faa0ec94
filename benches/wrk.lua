-- A payment under a key: WRK_KEYS keys in turn for each thread, or a new one for each request.
local keys = tonumber(os.getenv("WRK_KEYS") or "0")
local salt = os.getenv("WRK_SALT") or "salt"
local thread = 0
local body = string.rep("x", tonumber(os.getenv("WRK_BYTES") or "512"))

function setup(it)
    it:set("number", thread)
    thread = thread + 1
end

function init()
    count = 0
    headers = { ["Content-Type"] = "application/octet-stream", ["Authorization"] = "Bearer bench" }
end

function request()
    count = count + 1
    local n = keys > 0 and count % keys or count
    headers["Idempotency-Key"] = salt .. "-" .. number .. "-" .. n
    return wrk.format("POST", nil, headers, body)
end
