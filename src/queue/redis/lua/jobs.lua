-- ARGV: 6 queue, 7 group, 8 state, each empty for any, 9 sequence before the first, 10 most to examine.
-- Answers 1 if there are more, the sequence of the last that was examined, and the jobs.
advance()
local groups = ARGV[7] == '' and call('SMEMBERS', GROUPS) or {ARGV[7]}
-- Of each group the first ones: among them are the first ones of all, at least that many.
local most = math.max(math.min(tonumber(ARGV[10]), math.floor(20000 / math.max(#groups, 1))), 10)
local found, more = {}, 0
for _, group in ipairs(groups) do
  local of_group = call('ZRANGEBYSCORE', group_key(group), '('..ARGV[9], '+inf', 'WITHSCORES', 'LIMIT', 0, most)
  for at = 1, #of_group, 2 do found[#found + 1] = {of_group[at], tonumber(of_group[at + 1])} end
end
table.sort(found, function(a, b) return a[2] < b[2] end)
if #found >= most then more = 1 end
local jobs, last = {}, tonumber(ARGV[9])
for at = 1, math.min(#found, most) do
  local name, sequence = found[at][1], found[at][2]
  last = sequence
  local _, what, job = find(name)
  if (ARGV[6] == '' or ARGV[6] == what[QUEUE]) and (ARGV[8] == '' or ARGV[8] == job[STATE]) then
    jobs[#jobs + 1] = describe(name, what, job)
  end
end
return answer({more, last, jobs})
