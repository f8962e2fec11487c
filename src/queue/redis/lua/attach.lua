-- Takes up the queue, or makes it. Does not begin with the head: there may be no generation yet.
-- ARGV: 1 node, 2 epoch, 3 identity, 4 generation known, 5 changes seen, 6 name for a new generation, 7 whether this process
-- attaches for the first time, 8 the version of the layout.
local META, ROOT = KEYS[1]..'meta', KEYS[1]
local meta = redis.call('HMGET', META, 'identity', 'generation', 'changes', 'layout', 'node:'..ARGV[1])
local known, first = ARGV[4], ARGV[7] == '1'
local outcome, old = 'kept', ''
if meta[1] then
  if meta[1] ~= ARGV[3] then return {'foreign', meta[1]} end
  if meta[4] ~= ARGV[8] then return {'layout', meta[4] or 'none'} end
  if known ~= '' and meta[2] ~= known then
    outcome, old = 'another', meta[2]
  elseif known ~= '' and tonumber(meta[3]) < tonumber(ARGV[5]) then
    outcome, old = 'back', meta[2]
  elseif not first and not meta[5] then
    return {'taken'}
  end
else
  outcome = known == '' and 'made' or 'gone'
end
if outcome ~= 'kept' then
  local time = redis.call('TIME')
  redis.call('DEL', META)
  redis.call('HSET', META, 'identity', ARGV[3], 'layout', ARGV[8], 'generation', ARGV[6], 'changes', 0,
    'turn', time[1] * 1000000 + time[2], 'latest', '', 'clock', 0)
elseif first then
  for _, field in ipairs(redis.call('HKEYS', META)) do
    if string.sub(field, 1, 5) == 'node:' then redis.call('HDEL', META, field) end
  end
end
redis.call('HSET', META, 'node:'..ARGV[1], ARGV[2])
local generation, changes = unpack(redis.call('HMGET', META, 'generation', 'changes'))
return {outcome, generation, changes, old}
