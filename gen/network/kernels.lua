-- kernels.lua: an operation of a network on views -> kernels and stages, as a family's `stages` gives them.
--
-- operation: { op = a row below, its attributes by name }; views: by slot (src, weights, residual, bias, slope:
-- operands in order; dst: the result) { type, dims, strides in elements }. Axes count from 0, as in a network's file.
-- The result may lie where src does, if it is the same view, in chains, softmax and normalisation; else nothing may
-- overlap. Every view is right, views whose innermost axis has the stride 1 are fast. Results have the same bits on all
-- targets and for any number of threads: each file says the order of its sums.
local build = require "build"
local driver = require "driver"
local along = require "network/along"
local elements, turned = require "network/elements", require "network/turned"
local argmax, cast = require "network/argmax", require "network/cast"
local indexed, linear = require "network/indexed", require "network/linear"
local steps = require "network/steps"
local matmul = require "network/matmul"
local pad, pool = require "network/pad", require "network/pool"
local kernels = {}

kernels.slots = { "src", "weights", "residual", "bias", "slope" }

-- Slots that there are, and their views, with that of the result behind them.
local function operands(views)
  local slots, list = {}, {}
  for _, slot in ipairs(kernels.slots) do
    if views[slot] then slots[#slots + 1], list[#list + 1] = slot, views[slot] end
  end
  list[#list + 1] = views.dst
  return slots, list
end

local function stage(parts) return { driver.stage { name = "compute", parts = parts } } end

local function chain(b, operation, views)
  local slots, list = operands(views)
  b.why = steps.misfit(operation.steps or {})
  return b.why and {} or stage(elements.parts(b, { slots = slots, views = list, steps = operation.steps or {} }))
end

local function copy(b, operation, views)
  if views.src.type ~= views.dst.type then
    local stages = stage(cast.parts(b, views))
    cast.finish(b, views)
    return stages
  end
  local parts = turned.parts(b, { views.src, views.dst })
  return parts and stage(parts) or chain(b, operation, views)
end

local function padded(b, operation, views)
  local mode = operation.mode
  if mode == "reflect" or mode == "edge" then return indexed.border(b, operation, views) end
  return stage(pad.parts(b, operation, views))
end

-- Where no size differs nothing else does.
local function resize(b, operation, views)
  for i, size in ipairs(views.src.dims) do
    if size ~= views.dst.dims[i] then
      return (operation.mode == "linear" and linear.stages or indexed.nearest)(b, operation, views)
    end
  end
  return copy(b, operation, views)
end

local function product(b, _, views)
  local parts, scratch = matmul.parts(b, views)
  return { driver.stage { name = "compute", parts = parts, scratch = scratch } }
end

local reduce, softmax, norm, windows = along.reduce, along.softmax, along.norm, pool.stages

-- One row an operation: make(b, operation, views) gives its stages.
kernels.rows = {
  copy  = { make = copy },   -- from one view to another of the same dims, and of any type
  chain = { make = chain },  -- steps = as steps.lua has them; views of operands have the result's dims, stride 0 where
                             -- they are broadcast; no operand at all: a step of numbers
  -- windows along axes (without: those from 2 on): kernel, stride, pad (leading), dilation (1: dense), of each axis
  -- one; counted: taps in the padding count
  maxpool = { make = windows }, avgpool = { make = windows },
  -- mode = nearest | linear; coordinates, rounding as in a network's file; factors: of each axis, those of the sizes
  -- where they are missing or 0
  resize = { make = resize },
  -- before = elements before src's, of each axis; mode = reflect, edge or none: then value
  pad = { make = padded },
  -- src [.., m, k] times weights [.., k, n], as many axes each; a batch is shared by strides of 0
  matmul = { make = product },
  -- along axes = { a }: indices = a list, or weights: a view of i64 with one axis; what is beyond the axis is clipped
  gather = { make = indexed.gather },
  -- along axes = { ... }; of the results of reductions and argmax these have one element
  reduce_sum = { make = reduce }, reduce_mean = { make = reduce }, reduce_max = { make = reduce },
  argmax = { make = argmax.stages }, -- axes = { a }; the result is i64
  softmax = { make = softmax }, logsoftmax = { make = softmax },
  -- over all positions of axes, epsilon = e; weights: the scale, residual: the bias, with src's dims by strides of 0
  instancenorm = { make = norm }, layernorm = { make = norm },
}

-- What programs compute in: integers are only moved, or made from what src is.
local function computed(operation, views)
  if operation.op == "argmax" then return views.src.type end
  return views.dst.type == "i64" and "f64" or views.dst.type
end

-- {kernels, stages, packed, shared, type: what is computed in, types: in C, of slots that are read as something else};
-- or nil and why not.
function kernels.build(operation, views, target, threads)
  local row = kernels.rows[operation.op]
  if not row then return nil, ("no kernels are there for %s"):format(tostring(operation.op)) end
  local b = build.new({ type = computed(operation, views) }, target, { threads = threads or 1 })
  local stages = row.make(b, operation, views)
  if b.why then return nil, b.why end
  return { kernels = b.kernels, stages = stages, packed = 0, shared = b.shared or 0, type = b.p.type,
    types = b.types or {} }
end

return kernels
