-- network/show.lua: each stage of a network's plan as text for people.
--
-- "simplified" and "fused" are network files; "layout" is one with comments that say where each operation reads and
-- writes; "memory" lists the arena's blocks.
local text = require "network/text"
local file = require "network/file"
local simplify = require "network/simplify"
local fuse = require "network/fuse"
local layout = require "network/layout"
local arena = require "network/arena"
local show = {}

function show.simplified(net) return file.print(simplify.network(net)) end
function show.fused(net) return file.print(fuse.network(simplify.network(net))) end

---- layout ------------------------------------------------------------------------------------------------------------

-- What roots are called: arena 1, arena 2, ... in the order of their steps; input and output by number, from 0.
local function namer()
  local names, count = {}, 0
  return function(root)
    if not names[root] and root.place == "arena" then count = count + 1 end
    names[root] = names[root] or ("%s %d"):format(root.place, root.place == "arena" and count or root.index or root.at)
    return names[root]
  end
end

local function view_text(slot, v, name)
  local at = v.offset > 0 and " from " .. v.offset or ""
  return ("#   %-8s %s %s in %s%s, strides %s"):format(slot, v.type, text.dims(v.dims), name(v.root), at,
    #v.strides > 0 and text.list(v.strides, ",") or "none")
end

local function step_lines(step, name)
  local lines = {}
  if not step.from then lines[1] = ("#   copy     %s"):format(text.name(step.name)) end
  for _, slot in ipairs(step.slots) do lines[#lines + 1] = view_text(slot[1], slot[2], name) end
  lines[#lines + 1] = view_text("dst", step.dst, name)
  return table.concat(lines, "\n")
end

function show.layout(net)
  net = fuse.network(simplify.network(net))
  local said, name, rest = {}, namer(), {}
  for _, step in ipairs(layout.of(net).steps) do
    local lines = said[step.of] or step.of and {} or rest
    lines[#lines + 1] = step_lines(step, name)
    if step.of then said[step.of] = lines end
  end
  local whole = file.print(net, function(o) return said[o] and table.concat(said[o], "\n") end)
  return whole .. table.concat(rest, "\n") .. (rest[1] and "\n" or "")
end

---- memory ------------------------------------------------------------------------------------------------------------

-- The names of what lies in each block.
local function names_in(steps, of)
  local names = {}
  for _, step in ipairs(steps) do
    local list = of[step.dst.root] and names[of[step.dst.root]] or {}
    if of[step.dst.root] and list[#list] ~= step.name then list[#list + 1] = step.name end
    names[of[step.dst.root] or false] = list
  end
  return names
end

local function block_line(block, names)
  local list = {}
  for i, name in ipairs(names or {}) do list[i] = text.name(name) end
  return ("%12d %12d %6d %6d  %s"):format(block.offset, block.bytes, block.first, block.last, table.concat(list, ", "))
end

function show.memory(net)
  local steps = layout.of(fuse.network(simplify.network(net))).steps
  local laid = arena.of(steps, {})
  local names = names_in(steps, laid.of)
  local lines = { ("arena %d bytes, lower bound %d, ratio %.3f (without workspaces)"):format(laid.bytes, laid.bound,
    laid.bytes / math.max(1, laid.bound)), "      offset        bytes  first   last  tensors (steps from 1)" }
  for _, block in ipairs(laid.blocks) do lines[#lines + 1] = block_line(block, names[block]) end
  return table.concat(lines, "\n") .. "\n"
end

return show
