-- A dead letter for a list: name, sequence, queue, group, attempts, reason, moment of death.
local function letter(name, key, what, job)
  local grave = call('HMGET', key, 'z', 'y', 'd')
  return {name, tonumber(grave[1]), what[QUEUE], what[GROUP], job[ATTEMPTS], grave[2], tonumber(grave[3])}
end
