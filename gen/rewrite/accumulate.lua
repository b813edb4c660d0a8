-- accumulate.lua: gradients that are added to what is there, last, after all sums.
--
-- Of backward data what is there is a residual, which stands where the outputs go. Backward weights sum block by block
-- in their output: here that is the shared memory, and one more stage adds what it has to the gradients.
local cut = require "tiles"
local driver = require "driver"
local parts = require "parts"
local relayout = require "relayout"
local types = require "types"
local accumulate = {}

local added = { residual = true, activation = "none" }
local most = 1 << 12 -- elements of a task

-- The problem that is asked for, of which families may see a dual.
local function asked(p) return p.asked or p end

-- What families are told of such a problem.
function accumulate.problem(p)
  if not p.accumulate or asked(p).pass ~= "backward_data" then return p end
  return setmetatable({ epilogue = added }, { __index = p })
end

-- Says where a stage finds what it calls these names, unless a rewrite has put it elsewhere already.
local function place(stage, places)
  local all = {}
  for _, list in ipairs { places, stage.elsewhere or {} } do
    for name, at in pairs(list) do all[name] = at end
  end
  stage.elsewhere = all
end

-- Tasks that add `count` elements of the shared memory, from `at` on, to those of a base.
local function add_parts(list, result, p, base, count, at)
  for _, run in ipairs(cut.piece_runs(count, most)) do
    local o = { name = "add" .. #result.kernels, type = types.computed(p), target = result.kernels[1].target }
    local kernel = relayout.copy({ from = "sums", to = "gradient", elements = run.size, many = true,
      finish = { epilogue = added }, about = "Adds sums to the gradient that is there." }, o)
    table.insert(result.kernels, kernel)
    list[#list + 1] = { indices = { { "piece", run.count } }, body = function(d, piece)
      local from = d:let("from", piece * run.size + run.first)
      d:call(kernel, { { d.shared, from + at }, { d[base], from }, { d[base], from } })
    end }
  end
end

-- Sums of the weights, then of the bias, stand behind what stages share anyway.
local function add_stage(p, result)
  local size, list, elsewhere = parts.size_of(p), {}, {}
  local counts = { weights = parts.weight_bytes(p) // size, bias = asked(p).bias and asked(p).oc or nil }
  for _, base in ipairs { "weights", "bias" } do
    if counts[base] then
      local at = parts.round_up(result.shared, 64) // size
      elsewhere[base], result.shared = { "shared", at }, (at + counts[base]) * size
      add_parts(list, result, p, base, counts[base], at)
    end
  end
  for _, stage in ipairs(result.stages) do
    place(stage, elsewhere)
    stage.shares = true
  end
  table.insert(result.stages, driver.stage { name = "add", parts = list })
end

-- Makes a family's kernels and stages those of such a problem. once: tasks of a stage may not run again.
function accumulate.stages(result, p)
  if not p.accumulate then return end
  if p.pass == "backward_weights" then
    add_stage(p, result)
    result.stages[#result.stages].once = true
    return
  end
  for _, stage in ipairs(result.stages) do
    local written = p.pass == "forward" and "dst" or "src"
    if not stage.pack then
      place(stage, { residual = { written, 0 } })
      stage.once = true
    end
  end
end

return accumulate
