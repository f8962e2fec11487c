-- ARGV from 6: names. Answers the number of dead letters that are ready again.
local letters, seen = {}, {}
for at = 6, #ARGV do
  local name = ARGV[at]
  local key, what, job = find(name)
  if what and job[STATE] == 'x' and not seen[name] then
    seen[name] = true
    letters[#letters + 1] = {name = name, key = key, what = what, job = job, died = tonumber(call('HGET', key, 'z'))}
  end
end
table.sort(letters, function(a, b) return a.died < b.died end)
for _, letter in ipairs(letters) do
  local name, key, what, job, sequence = letter.name, letter.key, letter.what, letter.job, next_turn()
  what[SEQUENCE], what[ENQUEUED] = sequence, now
  job[STATE], job[ATTEMPTS], job[READY], job[TOKEN] = 'r', 0, now, ''
  call('HDEL', key, 'z', 'y', 'd')
  call('HSET', key, 'i', pack(what), 'm', pack(job))
  call('ZREM', DEAD, name)
  call('SREM', group_letters_key(what[GROUP]), name)
  join(what[GROUP], sequence, name)
  push(what[QUEUE], what[PRIORITY], what[GROUP], name, false)
  count(what[QUEUE], 'x', -1)
  count(what[QUEUE], 'r', 1)
  meter(what[QUEUE], 'e', 1)
end
return finish(#letters)
