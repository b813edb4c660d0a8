-- planar.lua: pixels in the lanes: channels-first data, and channels-last data of few channels.
--
-- Forward and backward data are in planar_gather.lua, backward weights in planar_window.lua and planar_taps.lua, the
-- estimates in planar_cost.lua; here are the names of schedules and which are worth trying. The canonical order holds.
local names = require "names"
local registers = require "registers"
local cut = require "tiles"
local parts = require "parts"
local reduce = require "reduce"
local cost = require "cost"
local counts = require "counts"
local estimate = require "families/planar_cost"
local gathering = require "families/planar_gather"
local sweeps = require "families/planar_sweeps"
local window = require "families/planar_window"
local taps = require "families/planar_taps"

local planar = { name = "planar", chains = 1 }

local most_variants, most_parts, most_channels, most_operations = 12, 16, 64, 6000
local most_groups = 1024 -- of channels that pixels are laid out by: each is written out in the kernel that does it

---- schedules ---------------------------------------------------------------------------------------------------------

-- planar.c6.v4.rows8 and planar.c6.v4.rows8.panel gather; planar.o10.rows2 (window) and planar.i3.k4.v2 (taps) are
-- backward weights.
names.family("planar", {
  { { "planar", fields = { { "c", "channels" }, { "v", "vectors" }, { "rows", "rows" } }, marks = { "panel" } } },
  { { "planar", fields = { { "o", "outputs" }, { "rows", "rows" } } } },
  { { "planar", fields = { { "i", "inputs" }, { "k", "taps" }, { "v", "vectors" } } } },
})

-- Vectors that fit the registers beside one of each and `others`; a range's mask takes one where masks take vector
-- registers.
local function most_of(target, v, others)
  return (target.registers - others - (target.mask_registers and 0 or 1)) // v
end

local function too_many(needed, target)
  needed = needed + (target.mask_registers and 0 or 1)
  return ("needs %d registers, %s has %d"):format(needed, target.name, target.registers)
end

---- forward and backward data -----------------------------------------------------------------------------------------

local function refused(p, s)
  local phases = #s.axes[1] * #s.axes[2] * #s.axes[3]
  if phases > most_parts then return ("needs %d phases, at most %d"):format(phases, most_parts) end
  if p.layout == "nhwc" and s.to.all > most_channels then
    local sentence = "channels-last data with %d channels in the result; planar takes at most %d"
    return sentence:format(s.to.all, most_channels)
  end
  if s.moves_in and not s.from.neighbours and s.from.all > most_groups * s.part then
    local most = most_groups * s.part
    return ("channels-last data with %d channels to sum; planar takes at most %d"):format(s.from.all, most)
  end
end

local function operations(variant, m)
  local n = 0
  for _, segment in ipairs(variant.segments) do n = n + segment.vectors * m end
  return n
end

-- Why this schedule cannot be, or nil.
local function misfit(s, schedule, target)
  local v, most = schedule.vectors, 0
  if schedule.channels > most_of(target, v, v + 1) then return too_many(schedule.channels * v + v + 1, target) end
  if schedule.panel and (s.moves_in or s.moves_out) then
    return "pixels that move through scratch come before channels"
  end
  local variants = 0
  for _, axis in ipairs(s.axes[3]) do
    local sure = cut.border_tiles(axis, v * s.lanes)
    local list = sure > most_variants and {} or select(2, gathering.row_runs(s, axis, v))
    variants = variants + math.max(sure, #list)
    for _, variant in ipairs(list) do most = math.max(most, operations(variant, schedule.channels)) end
  end
  if variants > most_variants then return ("needs %d border variants, at most %d"):format(variants, most_variants) end
  if most > most_operations then
    return ("a row of taps is %d multiply-adds, at most %d"):format(most, most_operations)
  end
end

-- Many rows a task lay few out twice, as long as what they lay out stays in the second cache.
local function rows_of_tasks(s, m)
  local list, outputs = { 4 }, s.axes[2][1].outputs
  if outputs > 4 then list[2] = 16 end
  if outputs > 16 and s.moves_in and 64 * s.in_row * s.size <= m.l2 // 2 then list[3] = 64 end
  return list
end

local function candidates(s, target, m)
  local list, row = {}, (s.axes[3][1].outputs + s.lanes - 1) // s.lanes
  for v = 1, math.min(row, 8) do
    local most = most_of(target, v, v + 1)
    if most >= 1 and cut.even_size(row, v) == v then
      local channels = cut.even_size(s.to.channels, most)
      for _, rows in ipairs(rows_of_tasks(s, m)) do
        list[#list + 1] = { channels = channels, vectors = v, rows = rows }
      end
      if not s.moves_in and not s.moves_out and channels < s.to.channels then
        list[#list + 1] = { channels = channels, vectors = v, rows = 16, panel = true }
      end
    end
  end
  return list
end

---- backward weights --------------------------------------------------------------------------------------------------

local function gradient_refused(p)
  if p.output[3] > reduce.block then
    return ("rows of %d pixels, planar's backward weights take at most %d"):format(p.output[3], reduce.block)
  end
  if p.layout == "nhwc" and p.kernel[3] == 1 and (p.groups > 1 or p.dilation[3] > 1) then
    return "channels-last data needs taps along w"
  end
end

local function gradient_misfit(p, schedule, target)
  if schedule.outputs then
    if p.layout ~= "nhwc" then return "a window in the lanes is for channels-last data" end
    if p.groups > 1 or p.dilation[3] > 1 then return "a window in the lanes needs one group and no dilation along w" end
  end
  local v = schedule.outputs and schedule.rows * estimate.window_vectors(p, target) or schedule.vectors
  local rows = schedule.outputs or schedule.taps * schedule.inputs
  if rows > most_of(target, v, v + 1) then return too_many(rows * v + v + 1, target) end
  local most = 0
  for _, piece in ipairs(cut.even_pieces(p.kernel[3], schedule.taps or p.kernel[3])) do
    most = math.max(most, #sweeps.row_of(p, piece.first, piece.first + piece.size - 1).ends)
  end
  if most > sweeps.most_border then
    return ("%d pixels of a row see some taps only, at most %d"):format(most, sweeps.most_border)
  end
end

local function window_candidates(p, target, list)
  for rows = 1, math.min(6, p.kernel[2]) do
    local v = rows * estimate.window_vectors(p, target)
    local outputs = most_of(target, v, v + 1)
    if outputs >= 1 and cut.even_size(p.kernel[2], rows) == rows then
      list[#list + 1] = { outputs = cut.even_size(p.oc, outputs), rows = rows }
    end
  end
end

local function gradient_candidates(p, target)
  local list, lanes, last = {}, parts.lanes_of(p, target), p.layout == "nhwc"
  if last and p.groups == 1 and p.dilation[3] == 1 then window_candidates(p, target, list) end
  for v = 1, math.min(4, (p.oc // p.groups + lanes - 1) // lanes) do
    local m = most_of(target, v, v + 1)
    if m >= 1 then
      local inputs = cut.even_size(p.ic // p.groups, m)
      local taps = cut.even_size(p.kernel[3], math.max(m // inputs, 1))
      -- What one tap would do direct has of channels-last data.
      if taps > 1 or not last then list[#list + 1] = { inputs = inputs, taps = taps, vectors = v } end
      if taps > 1 and not last then list[#list + 1] = { inputs = inputs, taps = 1, vectors = v } end
    end
  end
  return list
end

---- what the generator asks for ---------------------------------------------------------------------------------------

-- How a pass is done: why it cannot be, its candidates, why one of them cannot be, its cycles, its stages.
local function gathers(p, target, m)
  local s = gathering.shape(p, target)
  s.counts = counts.of(s.axes)
  return { why = refused(p, s), candidates = function() return candidates(s, target, m) end,
    misfit = function(schedule)
      if not schedule.channels then return "is a schedule of backward weights" end
      return misfit(s, schedule, target)
    end,
    cycles = function(schedule) return estimate.gathering(s, schedule, m) end, stages = gathering.stages }
end

local function gradients(p, target, m)
  return { why = gradient_refused(p), candidates = function() return gradient_candidates(p, target) end,
    misfit = function(schedule)
      if schedule.channels then return "is no schedule of backward weights" end
      return gradient_misfit(p, schedule, target)
    end,
    cycles = function(schedule) return estimate.gradient(p, schedule, m) end,
    stages = function(...) return (select(2, ...).outputs and window or taps).stages(...) end }
end

local function way(p, target, machine)
  return (p.pass == "backward_weights" and gradients or gathers)(p, target, cost.machine(machine, target))
end

-- Adds to `list` every schedule with its estimate in cycles or the reason why not; one entry without a schedule when
-- the family does not apply.
function planar.schedules(p, target, machine, list)
  local how = way(p, target, machine)
  if how.why then list[1] = { why = how.why, name = "planar" }; return end
  for _, schedule in ipairs(how.candidates()) do
    schedule.family = "planar"
    local cannot = how.misfit(schedule)
    list[#list + 1] = { schedule = schedule, cycles = not cannot and how.cycles(schedule) or 0, why = cannot }
  end
  if #list == 0 then list[1] = { why = "no tile fits the registers", name = "planar" } end
end

function planar.stages(p, schedule, target, machine)
  local how = way(p, target, machine)
  local why = how.why or how.misfit(schedule)
  if why then return nil, why end
  local result = how.stages(p, schedule, target)
  for _, kernel in ipairs(result.kernels) do
    local map, cannot = registers.allocate(kernel, target)
    if not map then return nil, cannot end
  end
  return result
end

return planar
