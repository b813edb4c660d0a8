-- network/arena.lua: the blocks of memory that steps need, and where they lie in one arena.
--
-- A root in the arena is alive from the first step that has it to the last one, a workspace at its own step. Where an
-- operation allows it, what it makes takes the memory of an operand that is read there for the last time.
local types = require "network/types"
local views = require "network/views"
local operations = require "network/operations"
local place = require "network/place"
local text = require "network/text"
local arena = {}

local most_bytes = 1 << 46

local function each_view(step, visit)
  for _, slot in ipairs(step.slots) do visit(slot[2]) end
  visit(step.dst)
end

-- A block for each root in the arena, in the order of their first steps.
local function roots_of(steps)
  local list, of = {}, {}
  for i, step in ipairs(steps) do
    each_view(step, function(v)
      local root = v.root
      if root.place ~= "arena" then return end
      if not of[root] then
        of[root] = { bytes = root.elements * types.bytes(root.type), first = i }
        list[#list + 1] = of[root]
      end
      of[root].last = i
    end)
  end
  return list, of
end

---- in place ----------------------------------------------------------------------------------------------------------

-- A convolution reads what is added to it where it writes; an operation element by element all that lies as its result.
local function may_share(step, slot)
  if step.prepared then return slot == "residual" end
  return step.from ~= nil and operations.rows[step.op].kind == "elements"
end

-- Whether no other operand is of that root, but for those that lie in the same way.
local function alone(step, v)
  for _, slot in ipairs(step.slots) do
    local other = slot[2]
    if other.root == v.root and not (may_share(step, slot[1]) and views.same(other, v)) then return false end
  end
  return true
end

-- The operand whose memory the result takes: one that dies here, while the result begins here.
local function shared_operand(step, i, of)
  local dst = step.dst
  local made = of[dst.root]
  if not made or made.first ~= i or not views.whole(dst) then return nil end
  for _, slot in ipairs(step.slots) do
    local v = slot[2]
    local block = of[v.root]
    if block and block ~= made and block.last == i and views.whole(v) and may_share(step, slot[1])
      and v.type == dst.type and views.alike(v, dst) and alone(step, v) then return v end
  end
end

local function share(steps, list, of)
  for i, step in ipairs(steps) do
    local operand = shared_operand(step, i, of)
    if operand then
      local block, gone = of[operand.root], of[step.dst.root]
      block.last, of[step.dst.root], gone.shared = gone.last, block, true
    end
  end
  local kept = {}
  for _, block in ipairs(list) do if not block.shared then kept[#kept + 1] = block end end
  return kept
end

---- the whole ---------------------------------------------------------------------------------------------------------

-- { bytes, bound, blocks (in the order of their first steps) }; of: the block of every root, and of every step with a
-- workspace. workspaces: bytes of each step, or nothing.
function arena.of(steps, workspaces)
  local list, of = roots_of(steps)
  list = share(steps, list, of)
  for i, step in ipairs(steps) do
    if (workspaces[i] or 0) > 0 then
      of[step] = { bytes = workspaces[i], first = i, last = i, workspace = true }
      list[#list + 1] = of[step]
    end
  end
  local bytes, bound = place.blocks(list)
  if bytes > most_bytes then text.fail("the tensors need %d bytes at one time: at most 2^46 are allowed", bytes) end
  return { bytes = bytes, bound = bound, blocks = list, of = of }
end

return arena
