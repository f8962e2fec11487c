-- Answers for each queue: name, ready, delayed, held, dead, whether it is paused, since when its oldest job waits and its longest
-- lease runs (0 for none), and events of the last minute: enqueued, acknowledged, failed.
advance()
local longest = {}
for _, name in ipairs(call('ZRANGE', LEASED, 0, -1)) do
  local _, what, job = find(name)
  local queue, since = what[QUEUE], job[SINCE]
  if not longest[queue] or since < longest[queue] then longest[queue] = since end
end

local function oldest(queue)
  local first
  for _, priority in ipairs(call('SMEMBERS', priorities_key(queue))) do
    for _, family in ipairs(call('ZRANGE', families_key(queue, priority), 0, -1)) do
      for _, group in ipairs(call('ZRANGE', turns_key(queue, priority, family), 0, -1)) do
        local _, what = find(call('ZRANGE', ready_key(queue, priority, group), 0, 0)[1])
        if not first or what[ENQUEUED] < first then first = what[ENQUEUED] end
      end
    end
  end
  return first or 0
end

local function events(queue, kind)
  local sum, second, kept = 0, math.floor(now / 1000000), call('HGETALL', P..'m:'..queue)
  for at = 1, #kept, 2 do
    if string.sub(kept[at], 1, 1) == kind then
      local moment, events = string.match(kept[at + 1], '^(%d+) (%d+)$')
      moment = tonumber(moment)
      if moment > second - 60 and moment <= second then sum = sum + events end
    end
  end
  return sum + ((meters[queue] or {})[kind] or 0)
end

local figures = {}
for _, queue in ipairs(call('SMEMBERS', P..'queues')) do
  local kept, ahead = call('HMGET', queue_key(queue), 'r', 'd', 'h', 'x'), counts[queue] or {}
  local function jobs(at, state) return tonumber(kept[at] or 0) + (ahead[state] or 0) end
  figures[#figures + 1] = {queue, jobs(1, 'r'), jobs(2, 'd'), jobs(3, 'h'), jobs(4, 'x'),
    call('SISMEMBER', ROOT..'paused', queue), oldest(queue), longest[queue] or 0,
    events(queue, 'e'), events(queue, 'a'), events(queue, 'f')}
end
return answer(figures)
