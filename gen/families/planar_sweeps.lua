-- planar_sweeps.lua: what both forms of planar's backward weights share: which outputs and taps see each other, and a
-- task, which sweeps over all blocks of output pixels while its totals stay in scratch.
--
-- Pixels at the ends of a row, where some taps of a tile lie in the padding, are written out; a tap never sees
-- another's pixels.
local driver = require "driver"
local gather = require "gather"
local reduce = require "reduce"
local tile = require "tile"
local view = require "view"
local sweeps = {}

sweeps.most_border = 32

---- which outputs and taps see each other -----------------------------------------------------------------------------

-- The pixels of a row as the taps [first, last] of it see them: those at the ends that only some taps see, as {at, low,
-- high} (taps, from 0; at relative to `from`), and between them the pixels [from, from + count) that all see.
function sweeps.row_of(p, first, last)
  local runs, row, middle, start = gather.runs(p, 3, first, last), { ends = {} }, nil, nil
  for _, run in ipairs(runs) do
    if run.taps == last - first + 1 then middle = run end
    start = start or run.low and run
  end
  start = middle or start
  row.from, row.count = start and start.first or 0, middle and middle.count or 0
  for _, run in ipairs(runs) do
    for at = run.first, run.low and run ~= middle and run.first + run.count - 1 or -1 do
      table.insert(row.ends, { at = at - row.from, after = middle and at > row.from or false, low = run.low,
        high = run.high })
    end
  end
  return row
end

-- Ends behind the middle are addressed from its end, so that rows of any length share a kernel.
local function place_of(row, e) return e.after and e.at - row.count or e.at end

function sweeps.key_of(row)
  local words = {}
  for i, e in ipairs(row.ends) do
    words[i] = ("%d%s:%d-%d"):format(place_of(row, e), e.after and "+" or "", e.low, e.high)
  end
  return table.concat(words, " ")
end

---- kernels -----------------------------------------------------------------------------------------------------------

-- A kernel over one block of pixels, in sections of rows; o describes its tile. how: row, sections {count, ...}
-- (without any the kernel is told the number of rows), src, diff: elements from one pixel and one row to the next,
-- names of the pointers within a row, last: the last tap, alone: the block's sum is the total; step(section, at, low,
-- high): the node that adds a pixel `at` pixels on to the sums of taps low..high.
function sweeps.kernel(o, how)
  local src, diff = how.src, how.diff
  local function steps(i) return { { "src", src[i] }, { "diff_dst", diff[i] } } end
  o.arguments = { { "src", "in" }, { "diff_dst", "in" }, { "total", "inout" }, { "columns", "count" },
    not how.sections[1].count and { "rows", "count" } }
  o.ending, o.body = { temporary = "passing" }, { { zero = {} } }
  for _, section in ipairs(how.sections) do
    local middle = { loop = "columns", steps = steps(1), how.step(section, 0, 0, how.last) }
    local row = { loop = section.count or "rows", steps = steps(2), copies = { { "src", how.names[1] },
      { "diff_dst", how.names[2] } } }
    for _, e in ipairs(how.row.ends) do
      if e.after and middle then row[#row + 1], middle = middle, nil end
      row[#row + 1] = how.step(section, place_of(how.row, e), e.low, e.high)
    end
    row[#row + 1] = middle
    table.insert(o.body, row)
  end
  table.insert(o.body, { finish = { not how.alone and "added", "stored" } })
  return tile.kernel(o)
end

-- Zeroes so many elements; name: of the kernel.
function sweeps.zero_kernel(w, elements, name)
  return w:add(reduce.zero_kernel(w:called(name), { { at = 0 } }, { times = elements // w.lanes, step = w.lanes }))
end

---- tasks -------------------------------------------------------------------------------------------------------------

-- A builder (see family.lua) with what all parts w share; block_rows: the rows of a block.
function sweeps.begin(b)
  b.src, b.dst, b.block_rows = view.src(b.p), view.dst(b.p), reduce.block_size(b.p)
end

-- A part of it with fields of its own.
function sweeps.part(b, fields) return setmetatable(fields, { __index = b }) end

-- The sweep of a task: plane() when a plane of pixels begins, then block() for each of its blocks; t: where the task
-- is, and n, od, and the rows [block, last).
function sweeps.blocks(d, w, t, planes, plane, block)
  local p = w.p
  reduce.planes(d, p, function(n, od)
    t.n, t.od = n, od
    plane()
    d:loop("block", 0, p.output[2], w.block_rows, function(first)
      t.block, t.last = first, d:let("last", driver.min(first + w.block_rows, p.output[2]))
      block()
    end)
  end, table.unpack(planes))
end

-- The stages of parts {indices, body, scratch in elements}; bias: for its gradient.
function sweeps.stages(b, list, bias)
  local most = 0
  for _, part in ipairs(list) do most = math.max(most, part.scratch) end
  return { driver.stage { name = "compute", parts = list, scratch = most * b.size },
    bias and reduce.tiles_stage(b.p, bias) or nil }
end

return sweeps
