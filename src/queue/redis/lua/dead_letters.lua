-- ARGV: 6 queue, 7 group, each empty for any, 8 sequence before the first, 9 most to examine. Answers 1 if
-- there are more, the sequence of the last that was examined, and the letters.
advance()
local letters, last = {}, ARGV[8]
local found = call('ZRANGEBYSCORE', DEAD, '('..ARGV[8], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[9])
for at = 1, #found, 2 do
  last = found[at + 1]
  local key, what, job = find(found[at])
  if (ARGV[6] == '' or ARGV[6] == what[QUEUE]) and (ARGV[7] == '' or ARGV[7] == what[GROUP]) then
    letters[#letters + 1] = letter(found[at], key, what, job)
  end
end
return answer({#found / 2 == tonumber(ARGV[9]) and 1 or 0, tonumber(last), letters})
