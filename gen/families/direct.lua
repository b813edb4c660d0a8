-- direct.lua: the outer-product kernel, acc[m][v] += broadcast(A[m]) * B[v], channels in the lanes: channels-last data,
-- and channels-first data that a task lays out.
--
-- Forward and backward data are in direct_gather.lua, backward weights in direct_gradient.lua, the estimates in
-- direct_cost.lua; here are the names of schedules and which are worth trying. The canonical order holds: taps, then
-- channels; for backward weights blocks of output pixels.
local activations = require "activations"
local family = require "family"
local parts = require "parts"
local reduce = require "reduce"
local cut = require "tiles"
local view = require "view"
local estimate = require "families/direct_cost"
local gathering = require "families/direct_gather"
local ranges = require "families/direct_ranges"
local fold = require "rewrite/fold"
local gathered = require "rewrite/gather"
local planes = require "rewrite/planes"
local turned = require "rewrite/turned"
local gradient = require "families/direct_gradient"
local lane_groups = require "rewrite/lanes"
local window = require "rewrite/window"

local most_variants, most_parts = 12, 16

---- schedules: [turned/][gather/][planes.s2/][window/][lanes.g4/][fold/][ranges/]direct.p7.v4.rows4 -------------------
---- and [turned/][gather/][window/][panel/]direct.i8.v2 ---------------------------------------------------------------
-- Forward and backward data: pixels and vectors of a tile, rows of a task. `turned` lays channels-first data out as a
-- whole before; `gather` moves the pixels of a strided 1x1 together; `planes` lays out channels-first data, for shares
-- of the column tiles; `window` moves what a task reads of some groups' channels together; `lanes` puts whole groups
-- side by side; `ranges` finds out at run time which taps there are, as does `fold`, which has a stride's pixels in the
-- lanes; `panel` moves the output channels of a tile of backward weights together. .fetch fetches early what comes from
-- far: the weights' panel, the gradient's lines. For activations in memory: .across takes a task's pixels through all
-- column tiles and fetches the next ones meanwhile, .stream writes past the caches, .ahead fetches what the next tile
-- sums. Of few output pixels a sum's .across takes a piece of the input channels through all column tiles.

local forms = {
  { turned.node, gathered.node, planes.node, window.node, lane_groups.node, fold.node, ranges.node, { "direct",
    marks = { "fetch", "across", "stream" }, fields = { { "p", "pixels" }, { "v", "vectors" }, { "rows", "rows" } } } },
  { sums = true, turned.node, gathered.node, window.node, { "panel", when = "panel" }, { "direct",
    fields = { { "i", "inputs" }, { "v", "vectors" } }, marks = { "fetch", "ahead", "across" } } },
}

---- what can be -------------------------------------------------------------------------------------------------------

-- The registers beside the accumulators: one row of the panel, the broadcast, and, where masks take vector registers, a
-- mask for ragged channels: of a row's ends, or beside what an activation takes; else it is in the broadcast's, which
-- is done with when sums are stored. (A broadcast inside the fma would save that one but loads v times as often.)
local function other_registers(s, v, folded)
  local ragged = (s.p.pass == "backward_data" and s.icg or s.ocg) % s.lanes ~= 0
  local masked = folded or ragged and activations.room(s.p, s.target) > 0
  return v + 1 + (masked and not s.target.mask_registers and 1 or 0)
end

local function most_rows(s, v, beside)
  return math.min((s.target.registers - (beside or other_registers(s, v))) // v, 28)
end

-- The same where groups share the lanes, or lanes of a row's ends are left out.
local function beside_sums(s, schedule)
  if schedule.fold then return other_registers(s, schedule.vectors, true) end
  return schedule.groups and lane_groups.other_registers(s.of {}, schedule.groups, s.lanes)
end

-- Phases that would have kernels and parts of their own.
local function phases_of(s)
  local axes = s.of({}).axes
  return #axes[1] * #axes[2] * #axes[3]
end

-- Why a tile of so many rows and vectors cannot be, or a schedule have copies; or nil.
local function tile_misfit(s, schedule, rows, copies)
  local v, target, beside = schedule.vectors, s.target, beside_sums(s, schedule)
  local why = family.first { { rows > most_rows(s, v, beside), "needs %d registers, %s has %d",
    rows * v + (beside or other_registers(s, v)), target.name, target.registers } }
  if why or not schedule.copies then return why end
  return select(2, copies.copied_bytes(s.p))
end

-- Why a schedule of channels-first data cannot be, or nil. Completes the shape for it.
local function bands_misfit(s, schedule, target)
  local runs = gathering.columns(s, schedule, target)
  planes.plan(s, schedule, runs[1].tile.width)
  local scratch = s.planes.scratch
  return family.first { { schedule.across, "across is for pixels that are read where they are" },
    { schedule.splits > runs.all, "has %d column tiles, fewer than its shares", runs.all },
    { scratch > planes.most_scratch, parts.too_much_scratch(scratch, planes.most_scratch) } }
end

local function variants_misfit(s, schedule)
  local variants = 0
  for _, axes in ipairs(gathering.phases(s)) do
    if not axes.empty then
      local sure = cut.border_tiles(axes[3], schedule.pixels)
      local exact = sure <= most_variants and #select(2, gathering.rows_of(s, axes[3], schedule.pixels))
      variants = variants + (exact or sure)
    end
  end
  return family.first { { variants > most_variants, "needs %d border variants, at most %d", variants, most_variants } }
end

-- Why taps cannot be ranges, or nil.
local function ranges_misfit(s, schedule)
  local both = schedule.fold and schedule.ranges
  return schedule.fold and fold.refused(s.p) or family.first {
    { both or schedule.copies or schedule.groups or schedule.window or schedule.across
      or schedule.stream, "ranges have no other ways beside them" } }
end

-- Why a schedule cannot be, or nil.
local function misfit(s, schedule)
  local why = schedule.groups and family.first(lane_groups.misfits(s.of {}, schedule, s.lanes))
    or tile_misfit(s, schedule, schedule.pixels, gathering) or family.first {
    { (schedule.splits ~= nil) ~= (s.p.layout == "nchw"), "is for the other layout" },
    { schedule.stream and not schedule.across, "stream is for across" } }
  if why then return why end
  if schedule.fold or schedule.ranges then return ranges_misfit(s, schedule) end
  local phases, shape = phases_of(s), s.of(schedule)
  why = family.first { { phases > most_parts, "needs %d phases, at most %d", phases, most_parts } }
    or schedule.window and family.first(window.misfits(shape, schedule))
  if why then return why end
  return shape.planes and bands_misfit(shape, schedule, s.target) or variants_misfit(shape, schedule)
end

---- what is worth trying ----------------------------------------------------------------------------------------------

-- Pixels this far apart share few sets of the nearest cache: a panel of diff_dst's may pay, a window of src's.
local function spread(p, channels) return channels * parts.size_of(p) >= 1024 end

-- The weights, or their gradient, are larger than what the caches near the processor hold: fetching them early may pay.
local function far(p, m) return parts.weight_bytes(p) > 4 * m.l2 end

-- Activations come from memory, each for one tap only: the order of the loops and fetching early may pay.
local function beyond(bytes, m) return m.line(bytes) > m.rates.l3 end
local function thin(p, m) return math.max(table.unpack(p.kernel)) == 1 and beyond(parts.activation_bytes(p), m) end

-- Sums of backward weights so short that the gradient's stores and what begins them take most of the time.
local few = 16
local function few_pixels(p) return reduce.one_block(p) and parts.pixels(p, p.output) <= few end

-- All ways to set marks of a list: tables with each of them or without.
local function ways(marks)
  local list = { {} }
  for _, mark in ipairs(marks) do
    for i = 1, #list do
      local with = { [mark] = true }
      for other in pairs(list[i]) do with[other] = true end
      list[#list + 1] = with
    end
  end
  return list
end

-- Calls visit(vectors, size) for tiles that fill the registers, or half of them, size along the rows.
local function each_tile(s, channels, visit)
  for v = 1, math.min(4, (channels + s.lanes - 1) // s.lanes) do
    local most = most_rows(s, v)
    if most >= 1 then visit(v, most) end
    if most >= 2 then visit(v, most // 2) end
  end
end

-- Of backward weights.
local function sum_candidates(s, add)
  local p, m, marks = s.p, s.m, {}
  if p.layout == "nchw" then return true end
  if p.stride[1] * p.stride[2] * p.stride[3] > 1 and gradient.copied_bytes(p) then marks[1] = "copies" end
  if spread(p, p.oc) then marks[#marks + 1] = "panel" end
  local apart = s.taps > 1 and spread(p, p.ic)
  if apart and not family.first(window.block_misfits(p, {})) then marks[#marks + 1] = "window" end
  if far(p, m) then marks[#marks + 1] = "fetch" end
  if thin(p, m) then marks[#marks + 1] = "ahead" end
  if few_pixels(p) and s.ocg > s.lanes then marks[#marks + 1] = "across" end
  each_tile(s, s.ocg, function(v, most)
    for _, way in ipairs(ways(marks)) do
      way.inputs, way.vectors = cut.even_size(s.icg, most), v
      local short = v < math.min(3, (s.ocg + s.lanes - 1) // s.lanes)
      if not (way.across and (way.panel or way.ahead or short)) then add(way) end
    end
  end)
end

-- Of channels-first data: bands of some sizes, whole or shared among threads.
local function band_candidates(s, shape, add)
  local channels, outputs, threads = shape.to.channels, shape.axes[3][1].outputs, s.p.threads
  each_tile(s, channels, function(v, most)
    local width = v * s.lanes
    planes.each_size(shape, width, function(rows)
      for _, splits in ipairs { 1, threads > 1 and (channels + width - 1) // width >= threads and threads or nil } do
        add { pixels = cut.even_size(outputs, most), vectors = v, rows = rows, splits = splits }
      end
    end)
  end)
end

-- Each row of output pixels through all column tiles or the other way round, streamed or not.
local function row_candidates(s, shape, add)
  local from, to, outputs = shape.from, shape.to, shape.axes[3][1].outputs
  local large = beyond(parts.pixels(shape.p, to.size) * to.all * s.size, s.m)
  each_tile(s, to.channels, function(v, most)
    for _, rows in ipairs { 1, 4, 16 } do
      local across = thin(s.p, s.m) and rows * outputs * from.channels * s.size <= s.m.l2 // 2 or nil
      for _, mark in ipairs { {}, across and { across = true }, across and large and { stream = true } or nil } do
        if rows == 1 or rows <= shape.axes[2][1].outputs * 2 then
          add { pixels = cut.even_size(outputs, most), vectors = v, rows = rows, across = mark.across or mark.stream,
            stream = mark.stream }
        end
      end
    end
  end)
end

-- A schedule as it is, and with the windows of its groups moved together.
local function with_windows(s, schedule, add)
  add(schedule)
  window.each_size(s.of { window = true, groups = schedule.groups }, function(rows)
    local with = { window = true, rows = rows }
    for key, value in pairs(schedule) do with[key] = with[key] or value end
    add(with)
  end)
end

-- Whole groups side by side in the lanes.
local function lane_candidates(s, add)
  local shape = s.of {}
  local outputs = shape.axes[3][1].outputs
  lane_groups.each_tile(shape, s.lanes, function(groups, v)
    local most = most_rows(s, v, lane_groups.other_registers(shape, groups, s.lanes))
    for _, pixels in ipairs { most, most // 2 } do
      local schedule = { groups = groups, pixels = cut.even_size(outputs, math.max(pixels, 1)), vectors = v, rows = 16 }
      if pixels > 0 then with_windows(s, schedule, add) end
    end
  end)
end

-- Taps in ranges: by column tiles and, along a row, pixels of which `inner` see all taps.
local function range_candidates(s, way, add)
  local shape = s.of(way)
  local inner, outputs = ranges.inner(shape), (shape.lines[2].positions - 1) // shape.lines[2].residues + 1
  each_tile(s, shape.classes[1].channels, function(v)
    local most = most_rows(s, v, way.fold and other_registers(s, v, true))
    for _, pixels in ipairs { most, most // 2 } do
      for _, rows in ipairs { 1, 4, 16 } do
        if pixels >= 1 and (rows == 1 or rows < outputs * 2) then
          add { pixels = cut.even_size(math.max(inner, 1), pixels), vectors = v, rows = rows, fold = way.fold,
            ranges = way.ranges, fetch = far(s.p, s.m) }
        end
      end
    end
  end)
end

-- Whether kernels for each phase and border are too many for some tile that is worth trying; those that are not are
-- added.
local function usual_candidates(s, add)
  local beyond_them = phases_of(s) > most_parts
  local grouped = s.p.layout == "nhwc" and s.p.groups > 1
  if not beyond_them then lane_candidates(s, add) end
  for _, copied in ipairs(beyond_them and {} or { false, gathered.all_bytes(s.p) and true or nil }) do
    local shape = s.of { copies = copied };
    (shape.planes and band_candidates or row_candidates)(s, shape, function(schedule)
      schedule.copies, schedule.fetch = copied, far(s.p, s.m)
      beyond_them = beyond_them or misfit(s, schedule) ~= nil
      if grouped and schedule.rows == 16 and not schedule.across then with_windows(s, schedule, add)
      else add(schedule) end
    end)
  end
  return beyond_them
end

-- Of tensors where they are, of copies, and what makes do with a few kernels. Folded lanes are all used. Answers
-- whether channels-first data are better turned as a whole.
local function candidates(s, add)
  local beyond_them = usual_candidates(s, add)
  if s.p.layout == "nchw" then return beyond_them end
  if beyond_them then range_candidates(s, { ranges = true }, add) end
  if (beyond_them or s.icg % s.lanes > 0) and not fold.refused(s.p) then range_candidates(s, { fold = true }, add) end
end

---- what the generator asks for ---------------------------------------------------------------------------------------

local gathers = { candidates = candidates, misfit = misfit }

function gathers.cycles(s, schedule)
  local by = (schedule.fold or schedule.ranges) and estimate.ranges or estimate.gathering
  return by(s, s.of(schedule), schedule)
end

function gathers.stages(s, schedule)
  return ((schedule.fold or schedule.ranges) and ranges or gathering).stages(s, s.of(schedule), schedule)
end

-- of(schedule): the shape of the problem as it does it: of what is left when its pixels are moved, of taps in ranges,
-- folded or not; each is made once.
function gathers.shape(p, target)
  local s, known = view.units(p, target), {}
  function s.of(schedule)
    local key = schedule.fold and "fold" or schedule.ranges and "ranges" or schedule.copies and "copies" or "usual"
    if not known[key] then
      known[key] = (schedule.fold or schedule.ranges) and ranges.shape(p, schedule.fold)
        or gathering.shape(p, schedule.copies)
      known[key].target, known[key].lanes = target, s.lanes
    end
    if not schedule.window then return known[key] end
    local child = window.child(known[key], schedule.groups)
    child.m = s.m
    return child
  end
  return s
end

local sums = { candidates = sum_candidates, cycles = estimate.gradient, stages = gradient.stages }
function sums.misfit(s, schedule)
  if s.p.layout == "nchw" then return "direct's backward weights need channels-last data" end
  return family.first {
    { schedule.across and not reduce.one_block(s.p), "across is for one block of output pixels" },
    { schedule.across and (schedule.panel or schedule.ahead), "across has no panel, and fetches nothing ahead" } }
    or schedule.window and family.first(window.block_misfits(s.p, schedule))
    or tile_misfit(s, schedule, schedule.inputs, gradient)
end

-- Channels-first rows that planar takes are not turned.
function sums.refused(s)
  if s.p.layout == "nchw" and s.p.output[3] <= reduce.block then return sums.misfit(s) end
end

local direct = family.new { name = "direct", forms = forms, gathers = turned.way(gathers), sums = turned.way(sums) }

-- For readers of emitted C.
local told = { { "window", "what a task reads of some groups' channels is moved together first;" },
  { "copies", "the input pixels that the stride leaves are moved together first;" },
  { "across", "the next rows are fetched while all output channels of these are computed;" },
  { "stream", "the output is written past the caches;" },
  { "fetch", "the panel of weights comes from far and is fetched early;" },
  { "ranges", "which taps a pixel has is found out at run time: those that have all go in tiles;" },
  { "fold", "the pixels between two strides stand in the lanes, beside the channels;" } }

function direct.explain(p, s, target)
  if s.inputs then
    local moved = s.window and "; what a block reads of a group's channels is moved together first" or ""
    return { ("tiles of %s x %s of output channels, lane by lane; "):format(parts.plural(s.inputs, "input channel"),
      parts.plural(s.vectors, "vector")) .. "sums over blocks of output pixels" .. moved }
  end
  local lines = {}
  local function add(text, ...) lines[#lines + 1] = text:format(...) end
  add("tiles of at most %s of a row x %s of %s stay in registers through all taps;", parts.plural(s.pixels, "pixel"),
    parts.plural(s.vectors, "vector"), parts.plural(parts.lanes_of(p, target), "channel"))
  if s.groups then
    add("%d groups stand in the lanes side by side, each lane takes the input of its own;", s.groups)
  end
  for _, row in ipairs(told) do if s[row[1]] then add(row[2]) end end
  local length = (s.fold or s.ranges) and p.output[3] or gathering.shape(p, s.copies).p.output[3]
  if length ~= p.output[3] then add("pixels that lie one behind the other are taken as rows of " .. length .. ";") end
  if s.splits then
    add("a task lays out what a band of %d rows needs as pixels, and its outputs as planes", s.rows)
  else
    local rows = s.rows == 1 and "a row" or s.rows .. " rows"
    add("a task is %s of the output for a panel of weights, which stays in the caches through it", rows)
  end
  return lines
end

return direct
