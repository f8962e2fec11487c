-- ARGV: 6 queue, 7 whether it pauses.
call('SADD', P..'queues', ARGV[6])
if ARGV[7] == '1' then
  call('SADD', ROOT..'paused', ARGV[6])
else
  call('SREM', ROOT..'paused', ARGV[6])
  woken = true
end
return finish(0)
