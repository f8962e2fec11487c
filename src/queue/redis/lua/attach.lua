-- Opens the queue, or creates it. Does not begin with the head: there may be no generation yet.
-- ARGV: 1 node, 2 epoch, 3 identity, 4 generation known, 5 changes seen, 6 name for a new generation, 7 whether this process
-- attaches for the first time, 8 the version of the layout, 9 whether other nodes may use the queue, 10 the process that used
-- the data directory before, 11 the time of silence after which a node counts as ended, 12 the generation that may be
-- replaced among several nodes: `-` if there is none, empty for no replacement.
local META, ROOT = KEYS[1]..'meta', KEYS[1]
local meta = redis.call('HMGET', META, 'identity', 'generation', 'changes', 'layout', 'node:'..ARGV[1])
local known, first, shares = ARGV[4], ARGV[7] == '1', ARGV[9] == '1'
local outcome, old = 'kept', ''
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if meta[1] then
  if meta[1] ~= ARGV[3] then return {'foreign', meta[1]} end
  if meta[4] ~= ARGV[8] then return {'layout', meta[4] or 'none'} end
  if known ~= '' and meta[2] ~= known then
    outcome, old = 'another', meta[2]
  elseif known ~= '' and tonumber(meta[3]) < tonumber(ARGV[5]) then
    outcome, old = 'back', meta[2]
  elseif not first and not meta[5] and not shares then
    return {'taken'}
  end
else
  outcome = known == '' and 'made' or 'gone'
end
if shares and outcome ~= 'kept' then
  local found = meta[2] or '-'
  -- All nodes together decide elsewhere which generation is the right one.
  if ARGV[12] == '' or ARGV[12] ~= found then return {'lost', outcome, found} end
end
if outcome ~= 'kept' then
  redis.call('DEL', META)
  redis.call('HSET', META, 'identity', ARGV[3], 'layout', ARGV[8], 'generation', ARGV[6], 'changes', 0,
    'turn', now, 'latest', '', 'clock', 0)
elseif first then
  for _, field in ipairs(redis.call('HKEYS', META)) do
    local node = string.match(field, '^node:(.*)$')
    if node then
      local seen = shares and node ~= ARGV[10] and redis.call('HGET', META, 'seen:'..node)
      if not seen or now - tonumber(seen) > tonumber(ARGV[11]) then redis.call('HDEL', META, field, 'seen:'..node) end
    end
  end
end
redis.call('HSET', META, 'node:'..ARGV[1], ARGV[2])
if shares then redis.call('HSET', META, 'seen:'..ARGV[1], now) end
local generation, changes = unpack(redis.call('HMGET', META, 'generation', 'changes'))
return {outcome, generation, changes, old}
