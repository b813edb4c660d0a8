-- reduce.lua: what backward weights do beside their products: the blocks of pixels that sums are made of, totals,
-- zeros, and the bias' gradient, which is the sum of the output's.
--
-- A block is a chain from zero, added to what is there; so a family's bias has the reference's bits whatever kernel
-- sums it.
local program = require "program"
local driver = require "driver"
local parts = require "parts"
local cut = require "tiles"
local view = require "view"
local reduce = {}

---- the order of the sums ---------------------------------------------------------------------------------------------

-- Blocks of at most this many output pixels; the same number as in the reference.
reduce.block = 512

function reduce.block_rows(width) return width >= reduce.block and 1 or reduce.block // width end

-- Whether all output pixels are one block, whose sum then is the gradient: nothing is there to be added to.
function reduce.one_block(p)
  return p.batch * p.output[1] == 1 and p.output[3] <= reduce.block and p.output[2] <= reduce.block_rows(p.output[3])
end

-- Rows and columns of a block, as many as a plane has.
function reduce.block_size(p)
  return math.min(reduce.block_rows(p.output[3]), p.output[2]), math.min(p.output[3], reduce.block)
end

-- Calls body(n, od) for each plane of outputs, of an image those [low, stop), all by default.
function reduce.planes(d, p, body, low, stop)
  d:loop("n", 0, p.batch, 1, function(n)
    d:loop("od", low or 0, stop or p.output[1], 1, function(od) body(n, od) end)
  end)
end

-- Calls body(first row) for the rows of each block of one of them, in order.
function reduce.each_block(d, p, body) d:loop("block", 0, p.output[2], reduce.block_rows(p.output[3]), body) end

-- Calls body(row, rows, column, columns) for each block of one plane of outputs, clipped to the rows [rows.low,
-- rows.high) and columns [columns.low, columns.high), all of them by default; all are driver expressions. Clipped
-- blocks may be empty.
function reduce.blocks(d, p, body, rows, columns)
  local height, width = p.output[2], p.output[3]
  rows, columns = rows or { low = 0, high = height }, columns or { low = 0, high = width }
  local function clip(name, at, size, range)
    local low = d:let(name, driver.max(at, range.low))
    return low, d:let(name .. "s", driver.max(driver.min(at + size, range.high) - low, 0))
  end
  reduce.each_block(d, p, function(at)
    local row, count = clip("row", at, reduce.block_rows(width), rows)
    if width <= reduce.block then
      return body(row, count, columns.low, d:let("columns", columns.high - columns.low))
    end
    d:loop("chunk", 0, width, reduce.block, function(chunk)
      local column, size = clip("column", chunk, reduce.block, columns)
      body(row, count, column, size)
    end)
  end)
end

---- totals and zeros --------------------------------------------------------------------------------------------------

-- place += sum, which is the new total as well; without `temp` nothing is there.
function reduce.total(k, place, sum, temp, lanes)
  if temp then
    k:load(temp, place, 0, lanes)
    k:add(sum, temp, sum)
  end
  k:store(place, sum, 0, lanes)
end

-- place += each of the sums, in order.
function reduce.add(k, place, sums, temp, lanes)
  k:load(temp, place, 0, lanes)
  for _, sum in ipairs(sums) do k:add(temp, temp, sum) end
  k:store(place, temp, 0, lanes)
end

-- The vectors of a column tile: {at, lanes}.
function reduce.vectors(tile, lanes)
  local list = {}
  for v = 0, tile.vectors - 1 do list[v + 1] = { at = v * lanes, lanes = lanes } end
  list[tile.vectors].lanes = tile.last
  return list
end

-- `rows` rows of such places, `pitch` elements apart.
function reduce.rows(places, rows, pitch)
  local list = {}
  for row = 0, rows - 1 do
    for _, place in ipairs(places) do list[#list + 1] = { at = row * pitch + place.at, lanes = place.lanes } end
  end
  return list
end

-- Zeroes places, once or as run = {times, step} says; without times an argument does. o: what the program is.
function reduce.zero_kernel(o, places, run)
  local k = program.new(o)
  local out, zero = k:pointer("out", "out"), k:vector "zero"
  k:zero(zero)
  k:nest({ out }, { run and { count = run.times or "vectors", steps = { run.step } } or nil }, function()
    for _, place in ipairs(places) do k:store(k:at(out, place.at), zero, 0, place.lanes) end
  end)
  return k:finish()
end

---- the bias' gradient: kernels ---------------------------------------------------------------------------------------

-- What pointers and registers of a kernel are called; g, which a pixel is loaded to, is the total too if that has no
-- name.
local usual = { out = "diff_bias", sum = "acc%d", g = "g" }

-- The register of a name such as acc0_1, which says what array it is of.
local function chain(k, name)
  local indices = {}
  for digits in name:gmatch "%d+" do indices[#indices + 1] = math.tointeger(digits) end
  return k:vector(name:match "^%a+", indices)
end

-- The chains of each place, one a block.
local function chains_of(k, places, blocks, text)
  local chains = {}
  for v in ipairs(places) do chains[v] = {} end
  for b = 0, (blocks or 1) - 1 do
    for v = 0, #places - 1 do
      chains[v + 1][b + 1] = chain(k, blocks and text:format(b, v) or text:format(v))
    end
  end
  return chains
end

-- Adds the sum over a block's pixels to the gradient, for the vectors `places` ({at, lanes, from: where it is read, if
-- elsewhere}). how: loops for Program:nest; blocks, if
-- their chains are to run beside each other, `apart` elements from one to the next; run: for vectors one behind
-- another; whole: all of each vector is there, and the sums are new totals; words, as above.
function reduce.bias_kernel(o, places, how)
  local k, words = program.new(o), how.words or usual
  local diff, out = k:pointer("diff_dst", "in"), k:pointer(words.out, "inout")
  local g = not words.sums_first and k:vector(words.g)
  local chains = chains_of(k, places, how.blocks, words.sum)
  local total = words.total and k:vector(words.total)
  g = g or k:vector(words.g)
  local function each(visit)
    for b = 1, how.blocks or 1 do
      for v, place in ipairs(places) do
        visit(chains[v][b], (b - 1) * (how.apart or 0) + (place.from or place.at), place.lanes)
      end
    end
  end
  local step = places[1].lanes
  k:nest({ diff, out }, { how.run and { count = "vectors", steps = { step, step } } or nil }, function()
    each(function(chain) k:zero(chain) end)
    k:nest({ how.run and k:copy("line", diff) or diff }, how.loops, function(at)
      each(function(chain, offset, lanes)
        if how.whole then return k:add(chain, chain, k:memory(k:at(at, offset))) end
        k:load(g, k:at(at, offset), 0, lanes)
        k:add(chain, chain, g)
      end)
    end)
    for v, place in ipairs(places) do
      if how.whole then reduce.total(k, k:at(out, place.at), chains[v][1], g)
      else reduce.add(k, k:at(out, place.at), chains[v], total or g, place.lanes) end
    end
  end)
  return k:finish()
end

---- the bias' gradient: stages ----------------------------------------------------------------------------------------

-- A part of a stage that sums it, plane by plane. part: index, {name, count}; channel(d, index), the first of a task;
-- zero, a kernel, and its counts; at(n, od, channel), where a plane of the output's gradient begins; blocks(d, with,
-- channel), which adds its blocks.
function reduce.bias_part(p, part)
  return { indices = { part.index }, body = function(d, index)
    local c = part.channel(d, index)
    d:call(part.zero, { { d.bias, c }, part.counts })
    reduce.planes(d, p, function(n, od) part.blocks(d, d:let("with", part.at(n, od, c)), c) end)
  end }
end

-- Where channels-last planes begin.
function reduce.plane_at(p)
  local plane = view.dst(p).d
  return function(n, od, c) return (n * p.output[1] + od) * plane + c end
end

-- Calls kernel(diff_dst, bias, rows, columns) for each block of a plane; dst: its view.
function reduce.sum_blocks(p, kernel, dst)
  return function(d, with, c)
    reduce.blocks(d, p, function(row, rows, column, columns)
      d:call(kernel, { { d.dst, with + row * dst.h + column * dst.w }, { d.bias, c }, rows, columns })
    end)
  end
end

-- The vectors of a column tile; channels-first, where the channels of a pixel are apart, of a lane each.
local function bias_places(tile, lanes, dst)
  local places = reduce.vectors(tile, lanes)
  for _, place in ipairs(dst.c > 1 and places or {}) do place.from = place.at * dst.c end
  return places
end

-- The gradient of the bias as a stage of its own, built in b.
function reduce.bias_stage(b)
  local p, dst, list, last = b.p, view.dst(b.p), {}, b.p.layout == "nhwc"
  local lanes = last and parts.lanes_of(p, b.target) or 1
  local wide = math.min(last and 4 or 8, (p.oc + lanes - 1) // lanes)
  local loops = { { count = "rows", steps = { dst.h }, names = { "y" } }, { count = "columns", steps = { dst.w } } }
  for i, run in ipairs(cut.runs_of_columns(p.oc, wide, lanes)) do
    local places, zero = bias_places(run.tile, lanes, dst), b:named "zero"
    local sum = b:add(reduce.bias_kernel(b:named "bias", places, { loops = loops }))
    list[i] = reduce.bias_part(p, { index = { "tile", run.count }, zero = b:add(reduce.zero_kernel(zero, places)),
      channel = function(d, tile) return d:let("c", (tile + run.index) * (wide * lanes)) end,
      at = last and reduce.plane_at(p) or function(n, od, c) return view.at(dst, { n = n, c = c, d = od }) end,
      blocks = reduce.sum_blocks(p, sum, dst) })
  end
  return driver.stage { name = "bias", parts = list }
end

---- the bias' gradient, several blocks together -----------------------------------------------------------------------

-- How many blocks of a plane the chains of a kernel take, a chain a block: an addition waits for the one before.
local function blocks_together(p, vectors, target)
  local whole, best, least = p.output[2] // reduce.block_rows(p.output[3]), 1, math.huge
  for many = 1, math.min(10, (target.registers - 2) // vectors, whole) do
    local calls = whole // many + whole % many
    if calls < least then best, least = many, calls end
  end
  return best
end

-- What sums a run of equal tiles of channels: {first, count, width, zero, one, many, together}.
local function bias_tile(b, run, width, lanes)
  local p, step, places = b.p, reduce.block_rows(b.p.output[3]), reduce.vectors(run.tile, lanes)
  local dst = view.dst(p)
  local together = blocks_together(p, run.tile.vectors, b.target)
  local function sum(what, blocks)
    return b:add(reduce.bias_kernel(b:named(what), places, { blocks = blocks, apart = step * dst.h,
      loops = { { count = "pixels", steps = { dst.w } } }, words = { out = "diff_bias", sum = "acc%d_%d", g = "g" } }))
  end
  return { first = run.index * width, count = run.count, width = width, together = together,
    zero = b:add(reduce.zero_kernel(b:named "zero", places)),
    one = (together == 1 or p.output[2] % (together * step) > 0) and sum("bias", 1),
    many = together > 1 and sum("biases", together) }
end

-- Of all output channels, built in b.
function reduce.bias_tiles(b)
  local p, lanes, list = b.p, parts.lanes_of(b.p, b.target), {}
  local wide = math.min(b.target.registers < 32 and 2 or 4, (p.oc + lanes - 1) // lanes)
  for i, run in ipairs(cut.runs_of_columns(p.oc, wide, lanes)) do
    list[i] = bias_tile(b, run, wide * lanes, lanes)
  end
  return list
end

-- Once the last block of several that are summed together has come: adds them to the bias' gradient at channel c.
function reduce.add_block(d, p, tile, plane, block, c)
  local step, row = reduce.block_rows(p.output[3]), view.dst(p).h
  local together = tile.together * step
  local done = p.output[2] // together * together -- rows that go together
  local function call(kernel, first, rows)
    d:call(kernel, { { d.dst, plane * (p.output[2] * row) + first * row + c }, { d.bias, c }, rows * p.output[3] })
  end
  local function one() call(tile.one, block, driver.min(driver.expr(p.output[2]) - block, step)) end
  if not tile.many then return one() end
  d:when(driver.all(driver.less(block, done), driver.equal(driver.rest(block + step, together), 0)), function()
    call(tile.many, block - (together - step), driver.expr(step))
  end)
  if done < p.output[2] then d:when(driver.less(done - 1, block), one) end
end

-- As a stage of its own.
function reduce.tiles_stage(p, tiles)
  local list = {}
  for i, tile in ipairs(tiles) do
    list[i] = { indices = { { "tile", tile.count } }, body = function(d, index)
      local c = d:let("c", index * tile.width + tile.first)
      d:call(tile.zero, { { d.bias, c } })
      d:loop("plane", 0, p.batch * p.output[1], 1, function(plane)
        reduce.each_block(d, p, function(block) reduce.add_block(d, p, tile, plane, block, c) end)
      end)
    end }
  end
  return driver.stage { name = "bias", parts = list }
end

return reduce
