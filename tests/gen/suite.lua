-- suite.lua: what the Lua suites share. A suite runs cases and returns suite.failures() at its end.
local suite = {}
local cases, failed = 0, 0

function suite.case(name, body)
  cases = cases + 1
  local ok, why = xpcall(body, debug.traceback)
  if ok then return end
  failed = failed + 1
  io.stderr:write(("FAILED %s: %s\n"):format(name, why))
end

function suite.equal(got, expected)
  if got ~= expected then error(("got\n%s\nexpected\n%s"):format(tostring(got), tostring(expected)), 2) end
end

-- body must raise an error that contains `sentence`.
function suite.refuses(sentence, body)
  local ok, why = pcall(body)
  if ok then error(("nothing was refused; expected: %s"):format(sentence), 2) end
  if not tostring(why):find(sentence, 1, true) then error(("refused with: %s\nexpected: %s"):format(why, sentence), 2) end
end

function suite.failures()
  print(("%d cases, %d failed"):format(cases, failed))
  return failed
end

if arg and arg[3] and arg[3]:match "suite%.lua$" then return 0 end -- run as a test by itself: nothing to do
return suite
