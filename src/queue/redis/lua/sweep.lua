-- Removes keys of lost queues. Does not begin with the head: the generation may be another by now.
-- ARGV: 1 generation known, from 2 the keys.
if redis.call('HGET', KEYS[1]..'meta', 'generation') ~= ARGV[1] then return -1 end
local removed = 0
for at = 2, #ARGV do removed = removed + redis.call('UNLINK', ARGV[at]) end
return removed
