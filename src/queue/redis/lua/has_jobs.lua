-- ARGV: 6 group.
advance()
return answer(call('EXISTS', group_key(ARGV[6])))
