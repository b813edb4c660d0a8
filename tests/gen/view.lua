-- Views: every element of a tensor has one position and every position one element, in the order that README names for the layout.
local suite = require "suite"
local view = require "view"
local types = require "types"

local function problem(layout, groups)
  return { layout = layout, type = "f32", batch = 2, groups = groups, ic = 4, oc = 6, input = { 2, 3, 5 }, output = { 1, 4, 2 },
    kernel = { 2, 3, 1 }, pass = "forward" }
end

-- The offsets of all positions, nested as `order` says, outermost first.
local function offsets(v, order, at, list)
  at, list = at or {}, list or {}
  local axis = order[1]
  if not axis then
    list[#list + 1] = view.at(v, at)
    return list
  end
  for i = 0, axis[2] - 1 do
    at[axis[1]] = i
    offsets(v, table.move(order, 2, #order, 1, {}), at, list)
  end
  return list
end

local function in_order(what, v, order)
  for i, offset in ipairs(offsets(v, order)) do
    if offset ~= i - 1 then error(("%s: position %d is element %d"):format(what, i - 1, offset), 0) end
  end
end

local layouts = {
  nhwc = { image = { "n", "d", "h", "w", "c" }, weights = { "kd", "kh", "kw", "i", "o" } },
  nchw = { image = { "n", "c", "d", "h", "w" }, weights = { "o", "i", "kd", "kh", "kw" } },
}

local function counted(names, counts)
  local order = {}
  for i, name in ipairs(names) do order[i] = { name, counts[name] } end
  return order
end

for layout, order in pairs(layouts) do
  for _, groups in ipairs { 1, 2 } do
    suite.case(("tensors of %s, %d groups"):format(layout, groups), function()
      local p = problem(layout, groups)
      in_order("src", view.src(p), counted(order.image, { n = 2, d = 2, h = 3, w = 5, c = 4 }))
      in_order("dst", view.dst(p), counted(order.image, { n = 2, d = 1, h = 4, w = 2, c = 6 }))
      in_order("weights", view.weights(p), counted(order.weights, { kd = 2, kh = 3, kw = 1, i = 4 // groups, o = 6 }))
      for _, v in ipairs { view.src(p), view.dst(p) } do
        suite.equal(v.g, v.all // groups * v.c)
        suite.equal(v.neighbours, layout == "nchw")
      end
      suite.equal(view.weights(p).g, 6 // groups * view.weights(p).o)
    end)
  end
end

suite.case("what is read and what is written", function()
  local p = problem("nhwc", 1)
  local from, to = view.gathered(p)
  suite.equal(from.base .. to.base, "srcdst")
  p.pass = "backward_data"
  from, to = view.gathered(p)
  suite.equal(from.base .. to.base, "dstsrc")
end)

suite.case("an image moved elsewhere", function()
  local src = view.src(problem("nhwc", 1))
  local moved = view.moved(src, "scratch", src.w + 16)
  suite.equal(moved.memory .. " " .. src.memory, "scratch src")
  suite.equal(moved.all, src.all)
  suite.equal(moved.h, src.size[3] * (src.w + 16))
  suite.equal(moved.d, src.size[2] * moved.h)
  suite.equal(src.h, src.size[3] * src.w)
end)

suite.case("elements of a vector", function()
  for name, row in pairs(types.rows) do
    suite.equal(types.lanes(name, { bits = 512 }), 64 // row.bytes)
    suite.equal(types.lanes(name, { bits = 0, lanes = 1 }), 1)
    suite.equal(types.part(name), 16 // row.bytes)
  end
end)

return suite.failures()
