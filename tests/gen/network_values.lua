-- Random networks give the same numbers as they are, simplified, fused, and laid out in one arena.
local suite = require "suite"
local convgen = require "convgen"
local file = require "network/file"
local simplify = require "network/simplify"
local fuse = require "network/fuse"
local values = require "network/values"
local machine = require "network/machine"
local random = require "network/random"

local seed = tonumber(os.getenv "CONVGEN_SEED") or os.time()
local trials = tonumber(os.getenv "CONVGEN_TRIALS") or 60
print(("CONVGEN_SEED=%d"):format(seed))

local function compare(what, net, got, expected)
  for _, name in ipairs(net.outputs) do
    local a, b, most = got[name], expected[name], 1
    for i = 1, #b do most = math.max(most, math.abs(b[i])) end
    if #a ~= #b then error(("%s: %s has %d elements, not %d"):format(what, name, #a, #b), 0) end
    for i = 1, #b do
      local near = math.abs(a[i] - b[i]) <= 1e-9 * most
      if not near and b[i] == b[i] then error(("%s: element %d of %s is %g, not %g"):format(what, i, name, a[i], b[i]), 0) end
    end
  end
end

local function check(content, given)
  local net = assert(file.parse(content))
  suite.equal(file.print(assert(file.parse(file.print(net)))), file.print(net))
  local expected = values.network(net, given)
  local simple = simplify.network(net)
  suite.equal(file.print(assert(file.parse(file.print(simple)))), file.print(simple))
  compare("simplified", net, values.network(simple, given), expected)
  local fused = fuse.network(simple)
  suite.equal(file.print(assert(file.parse(file.print(fused)))), file.print(fused))
  compare("fused", net, values.network(fused, given), expected)
  local got, laid = machine.run(fused, given)
  compare("laid out", net, got, expected)
  assert(laid.bytes >= laid.bound)
end

for i = 1, trials do
  math.randomseed(seed, i)
  local layout = i % 3 == 0 and "nhwc" or "nchw"
  local content, given = random.network(layout, math.random(3, 25))
  suite.case(("network %d"):format(i), function()
    local ok, why = xpcall(check, debug.traceback, content, given)
    if not ok then error(content .. why, 0) end
  end)
end

-- A text with some bytes changed, taken out or doubled is a network, or refused with the file's name; nothing else.
local function damaged(content)
  for _ = 1, math.random(1, 4) do
    local at, letters = math.random(#content), "0123456789xabk,.()=\"-# \n@"
    local n = math.random(#letters)
    local how = { letters:sub(n, n), "", content:sub(at, at):rep(2), content:sub(at, at + 9) }
    content = content:sub(1, at - 1) .. how[math.random(#how)] .. content:sub(at + 1)
  end
  return content
end

for i = 1, 4 * trials do
  math.randomseed(seed, -i)
  local content = damaged((random.network(i % 3 == 0 and "nhwc" or "nchw", math.random(3, 12))))
  suite.case(("damaged network %d"):format(i), function()
    local ok, plan, why = xpcall(convgen.network, debug.traceback, { text = content, name = "a.net" })
    if not ok or not plan and not why:match "^a.net" then error(content .. tostring(ok and why or plan), 0) end
  end)
end

return suite.failures()
