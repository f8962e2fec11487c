-- A dead letter for a list: name, sequence, queue, group, attempts, reason, moment of death.
local function letter(name, key, what, job)
  local fields = call('HMGET', key, 'z', 'y', 'd')
  return {name, tonumber(fields[1]), what[QUEUE], what[GROUP], job[ATTEMPTS], fields[2], tonumber(fields[3])}
end
