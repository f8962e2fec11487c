-- Lists hold the ready jobs of a queue, a priority and a group. Families take turns, and in a family its groups.
local function add_turn(queue, priority, group)
  local family, at = family_of(group), next_turn()
  call('ZADD', turns_key(queue, priority, family), at, group)
  if call('ZADD', families_key(queue, priority), 'NX', at, family) == 1 then
    call('SADD', priorities_key(queue), priority)
  end
end

-- Removes the turn of a group without ready jobs.
local function remove_turn(queue, priority, group)
  local family = family_of(group)
  local turns, families = turns_key(queue, priority, family), families_key(queue, priority)
  call('ZREM', turns, group)
  if call('EXISTS', turns) == 1 then return end
  call('ZREM', families, family)
  if call('EXISTS', families) == 0 then call('SREM', priorities_key(queue), priority) end
end

local function push(queue, priority, group, name, first)
  local list, at = ready_key(queue, priority, group), next_turn()
  local waits = call('EXISTS', list) == 1
  call('ZADD', list, first and -at or at, name)
  if not waits then add_turn(queue, priority, group) end
  woken = true
end

local function withdraw(queue, priority, group, name)
  local list = ready_key(queue, priority, group)
  if call('ZREM', list, name) == 1 and call('EXISTS', list) == 0 then remove_turn(queue, priority, group) end
end
