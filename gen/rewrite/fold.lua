-- fold.lua: backward data with a stride along w, channels-last: the pixels that a stride leaves between two inputs
-- stand together in memory, so residue and channel are one axis, which goes in the lanes. What remains is a contraction
-- of stride 1 with `stride` times the channels and as many taps as one pixel sees. Weights stand in that order as well.
--
-- A block is the pixels whose taps begin with one input, from the first residue on: a row's first and last block may be
-- cut. The last tap is one of the first residues only, so the lanes are of two classes; no weight is zero.
local family, gather, view = require "family", require "gather", require "view"
local fold = {}

fold.node = { "fold", when = "fold" } -- in a schedule's name

-- Why a problem cannot be folded, or nil.
function fold.refused(p)
  return family.first {
    { p.pass ~= "backward_data" or p.stride[3] == 1, "fold is for backward data with a stride along w" },
    { p.groups > 1, "fold needs one group, not %d", p.groups },
    { p.dilation[3] > 1, "fold needs no dilation along w, not %d", p.dilation[3] - 1 },
    { gather.finished(p), "fold stores sums as they are, without a bias, a residual or an activation" },
    { view.src(p).w ~= p.ic, "fold needs pixels side by side, not %d elements apart", view.src(p).w } }
end

-- The lanes of a row: classes {lane: the first, channels: so many lanes, columns: of taps}.
local function classes_of(p)
  local s, kernel, lanes = p.stride[3], p.kernel[3], p.stride[3] * p.ic
  local fewer, first = kernel // s, kernel % s * p.ic
  local list = { { lane = first, channels = lanes - first, columns = fewer } }
  if first > 0 then table.insert(list, 1, { lane = 0, channels = first, columns = fewer + 1 }) end
  return list
end

-- The blocks of a row that are cut: {block, lanes [low, high)}.
local function cut_blocks(p, f)
  local list, width = {}, p.stride[3] * p.ic
  local function add(block)
    local low, high = f.shift - block * width, p.input[3] * p.ic + f.shift - block * width
    list[#list + 1] = { block = block, low = math.max(low, 0), high = math.min(high, width) }
  end
  if f.first > 0 then add(0) end
  if f.blocks > f.stop and (f.blocks > 1 or f.first == 0) then add(f.blocks - 1) end
  return list
end

-- classes; line: what blocks gather from, an axis as of gather.lua; before: the input of block 0's first tap; shift:
-- elements of block 0 in front of the row; blocks: of a row, those [first, stop) whole; cut: the others.
function fold.shape(p)
  local s, shift = p.stride[3], p.pad[3] % p.stride[3]
  local f = { classes = classes_of(p), before = p.pad[3] // s, shift = shift * p.ic, first = shift > 0 and 1 or 0,
    stop = (p.input[3] + shift) // s, blocks = (p.input[3] + shift + s - 1) // s,
    line = { step = 1, tap_step = -1, tap_stride = 1, inputs = p.output[3] } }
  f.stop = math.max(f.stop, f.first)
  f.cut = cut_blocks(p, f)
  return f
end

return fold
