-- planar.lua: pixels in the lanes: channels-first data, and channels-last data of few channels.
--
-- Forward and backward data are in planar_gather.lua, backward weights in planar_window.lua and planar_taps.lua, the
-- estimates in planar_cost.lua; here are the names of schedules and which are worth trying. The canonical order holds.
local family = require "family"
local parts = require "parts"
local cut = require "tiles"
local reduce = require "reduce"
local estimate = require "families/planar_cost"
local gathering = require "families/planar_gather"
local sweeps = require "families/planar_sweeps"
local window = require "families/planar_window"
local taps = require "families/planar_taps"

local most_variants, most_parts, most_channels, most_operations = 12, 16, 64, 6000
local most_groups = 1024 -- of channels that pixels are laid out by: each is written out in the kernel that does it

---- schedules ---------------------------------------------------------------------------------------------------------

-- planar.c6.v4.rows8 and planar.c6.v4.rows8.panel gather; planar.o10.rows2 (window) and planar.i3.k4.v2 (taps) are
-- backward weights.
local forms = {
  { { "planar", fields = { { "c", "channels" }, { "v", "vectors" }, { "rows", "rows" } }, marks = { "panel" } } },
  { sums = true, { "planar", fields = { { "o", "outputs" }, { "rows", "rows" } } } },
  { sums = true, { "planar", fields = { { "i", "inputs" }, { "k", "taps" }, { "v", "vectors" } } } },
}

-- Beside the sums of v vectors: one of each, the broadcast, and a range's mask where masks take vector registers.
local function other_registers(target, v) return v + 1 + (target.mask_registers and 0 or 1) end
local function most_of(target, v) return (target.registers - other_registers(target, v)) // v end

-- A row of refusals: so many sums of v vectors.
local function registers(sums, v, target) return family.registers(sums * v + other_registers(target, v), target) end

---- forward and backward data -----------------------------------------------------------------------------------------

local function refused(s)
  local p, phases, most = s.p, #s.axes[1] * #s.axes[2] * #s.axes[3], most_groups * s.part
  return family.first { { phases > most_parts, "needs %d phases, at most %d", phases, most_parts },
    { p.layout == "nhwc" and s.to.all > most_channels,
      "channels-last data with %d channels in the result; planar takes at most %d", s.to.all, most_channels },
    { s.moves_in and not s.from.neighbours and s.from.all > most,
      "channels-last data with %d channels to sum; planar takes at most %d", s.from.all, most } }
end

-- Border variants of a schedule's rows, and the most multiply-adds of one that is known.
local function variants_of(s, schedule)
  local variants, most = 0, 0
  for _, axis in ipairs(s.axes[3]) do
    local sure = cut.border_tiles(axis, schedule.vectors * s.lanes)
    local list = sure > most_variants and {} or select(2, gathering.row_runs(s, axis, schedule.vectors))
    variants = variants + math.max(sure, #list)
    for _, variant in ipairs(list) do
      local vectors = 0
      for _, segment in ipairs(variant.segments) do vectors = vectors + segment.vectors end
      most = math.max(most, vectors * schedule.channels)
    end
  end
  return variants, most
end

-- Why a schedule cannot be, or nil.
local function misfit(s, schedule)
  local why = family.first { registers(schedule.channels, schedule.vectors, s.target),
    { schedule.panel and (s.moves_in or s.moves_out), "pixels that move through scratch come before channels" } }
  if why then return why end
  local variants, most = variants_of(s, schedule)
  return family.first { { variants > most_variants, "needs %d border variants, at most %d", variants, most_variants },
    { most > most_operations, "a row of taps is %d multiply-adds, at most %d", most, most_operations } }
end

-- Many rows a task lay few out twice, as long as what they lay out stays in the second cache.
local function rows_of_tasks(s)
  local list, outputs = { 4 }, s.axes[2][1].outputs
  if outputs > 4 then list[2] = 16 end
  if outputs > 16 and s.moves_in and 64 * s.in_row * s.size <= s.m.l2 // 2 then list[3] = 64 end
  return list
end

local function candidates(s, add)
  local row = (s.axes[3][1].outputs + s.lanes - 1) // s.lanes
  for v = 1, math.min(row, 8) do
    local most = most_of(s.target, v)
    if most >= 1 and cut.even_size(row, v) == v then
      local channels = cut.even_size(s.to.channels, most)
      for _, rows in ipairs(rows_of_tasks(s)) do add { channels = channels, vectors = v, rows = rows } end
      if not s.moves_in and not s.moves_out and channels < s.to.channels then
        add { channels = channels, vectors = v, rows = 16, panel = true }
      end
    end
  end
end

---- backward weights --------------------------------------------------------------------------------------------------

local function sums_refused(s)
  local p = s.p
  return family.first {
    { p.output[3] > reduce.block, "rows of %d pixels, planar's backward weights take at most %d", p.output[3],
      reduce.block },
    { p.layout == "nhwc" and p.kernel[3] == 1 and (p.groups > 1 or p.dilation[3] > 1),
      "channels-last data needs taps along w" } }
end

local function window_misfit(p)
  return family.first { { p.layout ~= "nhwc", "a window in the lanes is for channels-last data" },
    { p.groups > 1 or p.dilation[3] > 1, "a window in the lanes needs one group and no dilation along w" },
    { (p.src_stride or 0) > 0, "a window in the lanes needs pixels side by side, src is a slice of channels" } }
end

-- The most pixels of a row that see some taps only of a piece of so many; known once for all schedules.
local function border_of(s, taps)
  local known, most = s.borders or {}, 0
  s.borders = known
  for _, piece in ipairs(known[taps] and {} or cut.even_pieces(s.p.kernel[3], taps)) do
    most = math.max(most, #sweeps.row_of(s.p, piece.first, piece.first + piece.size - 1).ends)
  end
  known[taps] = known[taps] or most
  return known[taps]
end

local function sum_misfit(s, schedule)
  local v = schedule.outputs and schedule.rows * estimate.window_vectors(s) or schedule.vectors
  local sums = schedule.outputs or schedule.taps * schedule.inputs
  local why = schedule.outputs and window_misfit(s.p) or family.first { registers(sums, v, s.target) }
  if why then return why end
  local most = border_of(s, schedule.taps or s.p.kernel[3])
  return family.first { { most > sweeps.most_border, "%d pixels of a row see some taps only, at most %d", most,
    sweeps.most_border } }
end

local function window_candidates(s, add)
  local p = s.p
  for rows = 1, math.min(6, p.kernel[2]) do
    local most = most_of(s.target, rows * estimate.window_vectors(s))
    if most >= 1 and cut.even_size(p.kernel[2], rows) == rows then
      add { outputs = cut.even_size(p.oc, most), rows = rows }
    end
  end
end

local function sum_candidates(s, add)
  local p, last = s.p, s.p.layout == "nhwc"
  if not window_misfit(p) then window_candidates(s, add) end
  for v = 1, math.min(4, (s.ocg + s.lanes - 1) // s.lanes) do
    local most = most_of(s.target, v)
    if most >= 1 then
      local inputs = cut.even_size(s.icg, most)
      local several = cut.even_size(p.kernel[3], math.max(most // inputs, 1))
      -- What one tap would do direct has of channels-last data; fewer inputs with a row of taps go over the pixels of
      -- small groups but once: where these stand apart, direct moves them together.
      if several > 1 or not last then add { inputs = inputs, taps = several, vectors = v } end
      if several == 1 and last and p.groups > 1 and p.ic * s.size < 1024 and most >= p.kernel[3] then
        add { inputs = cut.even_size(s.icg, most // p.kernel[3]), taps = p.kernel[3], vectors = v }
      end
      if several > 1 and not last then add { inputs = inputs, taps = 1, vectors = v } end
    end
  end
end

---- what the generator asks for ---------------------------------------------------------------------------------------

return family.new { name = "planar", forms = forms,
  gathers = { shape = gathering.shape, refused = refused, candidates = candidates, misfit = misfit,
    cycles = estimate.gathering, stages = gathering.stages },
  sums = { refused = sums_refused, candidates = sum_candidates, misfit = sum_misfit, cycles = estimate.gradient,
    stages = function(s, schedule) return (schedule.outputs and window or taps).stages(s, schedule) end } }
