-- Lanes hold the ready jobs of a queue, a priority and a group. Families take turns, and in a family its groups.
local function line_up(queue, priority, group)
  local family, at = family_of(group), next_turn()
  call('ZADD', turns_key(queue, priority, family), at, group)
  if call('ZADD', families_key(queue, priority), 'NX', at, family) == 1 then
    call('SADD', bands_key(queue), priority)
  end
end

-- A lane without ready jobs has no turn.
local function step_out(queue, priority, group)
  local family = family_of(group)
  local turns, families = turns_key(queue, priority, family), families_key(queue, priority)
  call('ZREM', turns, group)
  if call('EXISTS', turns) == 1 then return end
  call('ZREM', families, family)
  if call('EXISTS', families) == 0 then call('SREM', bands_key(queue), priority) end
end

local function push(queue, priority, group, name, first)
  local lane, at = lane_key(queue, priority, group), next_turn()
  local waits = call('EXISTS', lane) == 1
  call('ZADD', lane, first and -at or at, name)
  if not waits then line_up(queue, priority, group) end
  woken = true
end

local function lift(queue, priority, group, name)
  local lane = lane_key(queue, priority, group)
  if call('ZREM', lane, name) == 1 and call('EXISTS', lane) == 0 then step_out(queue, priority, group) end
end
