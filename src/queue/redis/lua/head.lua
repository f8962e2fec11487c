-- Every script begins here. KEYS[1] is the prefix of all keys.
-- ARGV: 1 node, 2 epoch of its link, 3 generation, 4 changes seen, 5 time in microseconds, empty for the server's.
local call, fmt = redis.call, string.format
local ROOT, P, NODE = KEYS[1], KEYS[1]..ARGV[3]..':', 'node:'..ARGV[1]
local META = ROOT..'meta'
local meta = call('HMGET', META, 'generation', 'changes', 'turn', 'latest', 'clock', NODE)
if meta[1] ~= ARGV[3] then return {'generation'} end
if tonumber(meta[2]) < tonumber(ARGV[4]) then return {'back'} end
if meta[6] ~= ARGV[2] then return {'stale'} end
local now
if ARGV[5] == '' then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
else
  now = tonumber(ARGV[5])
end
