-- blocks.lua: blocks of Winograd's tiles, what a task takes: rows, columns and images.
--
-- Tiles are numbered within a block by class, so that those that have a given product (frequency) stand side by side:
-- small columns of large rows, large of large, large of small, small of small.
local cut = require "tiles"
local driver = require "driver"
local grid = require "rewrite/winograd/grid"
local blocks = {}

-- Rows, columns and images of a block of about `tiles` tiles.
function blocks.block(rows, columns, images, tiles)
  if tiles >= rows * columns then return rows, columns, math.min(images, math.max(tiles // (rows * columns), 1)) end
  if tiles >= columns then return tiles // columns, columns, 1 end
  return 1, tiles, 1
end

-- Whether tiles are few enough for blocks that are a thread's share each, in place of bands.
local function diagonal(height, width, shares, tiles)
  return shares and shares <= math.min(height, width) and -(-height * width // shares) <= tiles
end

-- The pieces that `height` tiles are cut into, `rows` at most, in equal numbers for each of `shares` threads.
local function pieces_of(height, rows, shares)
  if not shares then return cut.piece_runs(height, rows) end
  local count = -(-height // rows)
  return cut.spread_pieces(height, math.min(-(-count // shares) * shares, height))
end

---- how many there are, without making them ---------------------------------------------------------------------------

-- Tiles of the largest of the blocks that are a thread's share each.
local function most_of_diagonals(height, width, shares)
  local most, rows, columns = 0, cut.spread_pieces(height, shares), cut.spread_pieces(width, shares)
  for share = 0, shares - 1 do
    local sum = 0
    for i = 0, shares - 1 do sum = sum + rows[i + 1].size * columns[(i + share) % shares + 1].size end
    most = math.max(most, sum)
  end
  return most
end

-- Of one plan for each axis, in blocks of `rows` by `columns`: tiles of the largest, pieces of rows and of columns.
local function pieces_and_most(height, width, rows, columns, tiles, shares)
  if diagonal(height, width, shares, tiles) then return most_of_diagonals(height, width, shares), shares, 1 end
  local down, across = -(-height // rows), -(-width // columns)
  if shares then down = math.min(-(-down // shares) * shares, height) end
  return -(-height // down) * -(-width // across), down, across
end

-- Of the plans of both axes: {most: tiles of the largest block, count: how many there are, key: equal ones are the same
-- blocks}.
function blocks.figures(h_plans, w_plans, images, tiles, shares)
  local f, words = { most = 0, count = 0 }, {}
  for _, h in ipairs(h_plans) do
    for _, w in ipairs(w_plans) do
      local all = images * h.grids.count * w.grids.count
      local rows, columns, some = blocks.block(h.tiles, w.tiles, all, tiles)
      local most, down, across = pieces_and_most(h.tiles, w.tiles, rows, columns, tiles, shares)
      local runs = -(-all // some)
      f.most, f.count = math.max(f.most, most * -(-all // runs)), f.count + runs * down * across
      words[#words + 1] = diagonal(h.tiles, w.tiles, shares, tiles) and "shares" or (rows << 40 | columns << 20 | some)
    end
  end
  f.key = table.concat(words, " ")
  return f
end

---- blocks themselves -------------------------------------------------------------------------------------------------

-- Of the rectangles {h, w} of a block, where the tiles of each class begin: {[h class][w class] = {first, tiles}},
-- total; a rectangle gets classes of its own: {[h class][w class] = {first, rows, columns}}.
local function classes_of(rectangles, images)
  local list, at = { {}, {} }, 0
  for _, r in ipairs(rectangles) do r.classes = { {}, {} } end
  for _, class in ipairs { { 1, 2 }, { 1, 1 }, { 2, 1 }, { 2, 2 } } do
    local first = at
    for _, r in ipairs(rectangles) do
      local rows, columns = r.h.tiles[class[1]], r.w.tiles[class[2]]
      r.classes[class[1]][class[2]] = { first = at, rows = rows, columns = columns }
      at = at + images * rows * columns
    end
    list[class[1]][class[2]] = { first = first, tiles = at - first }
  end
  list.total = at
  return list
end

-- Bands of both axes and a run of images (piece_runs) as a block: {h, w, rectangles of tiles {h, w, classes}, mostly
-- one, run, images: of one, classes}.
local function block_of(h, w, run, rectangles)
  rectangles = rectangles or { { h = h, w = w } }
  return { h = h, w = w, rectangles = rectangles, run = run, images = run.size,
    classes = classes_of(rectangles, run.size) }
end

-- Bands of an axis as one, which has no outputs of its own: {tiles, first, outputs, count, grids}.
local function together(bands)
  local one = { tiles = { 0, 0 }, first = 0, outputs = 0, count = 1, grids = bands[1].grids }
  for _, band in ipairs(bands) do
    for class = 1, 2 do one.tiles[class] = one.tiles[class] + band.tiles[class] end
  end
  return one
end

-- A band whose runs are counted from the first output of all.
local function from_the_first(band)
  local runs = {}
  for i, r in ipairs(band.runs) do
    runs[i] = { tile = r.tile, at = r.at, from = r.from + band.first, count = r.count }
  end
  return { runs = runs, tiles = band.tiles, grids = band.grids }
end

-- All tiles in a block for each of `shares` threads: a share of the rows by one of the columns, each once: 16 + 9 and
-- 12 + 12 of 7 x 7.
local function diagonals(h, w, shares, run, list)
  local function bands(plan) return grid.bands(plan, cut.spread_pieces(plan.tiles, shares), true) end
  local rows, columns = bands(h), bands(w)
  for share = 0, shares - 1 do
    local rectangles = {}
    for i = 0, shares - 1 do
      rectangles[i + 1] = { h = from_the_first(rows[i + 1]), w = from_the_first(columns[(i + share) % shares + 1]) }
    end
    list[#list + 1] = block_of(together(rows), together(columns), run, rectangles)
  end
end

-- Bands of pieces of rows and columns by runs of images, as blocks; pieces: {h, w, images}.
function blocks.of_pieces(h, w, pieces, list)
  list = list or {}
  local rows, columns = grid.bands(h, pieces.h), grid.bands(w, pieces.w)
  for _, run in ipairs(pieces.images) do
    for _, hb in ipairs(rows) do
      for _, wb in ipairs(columns) do list[#list + 1] = block_of(hb, wb, run) end
    end
  end
  return list
end

-- The blocks of the plans of both axes, in the order of their tasks. `shares` (nil: 1) is for how many threads these,
-- in equal numbers one after the other, are to be about equal work.
function blocks.list(h_plans, w_plans, images, tiles, shares)
  local list = {}
  for _, h in ipairs(h_plans) do
    for _, w in ipairs(w_plans) do
      local all = images * h.grids.count * w.grids.count
      local rows, columns, some = blocks.block(h.tiles, w.tiles, all, tiles)
      local pieces = { images = cut.piece_runs(all, some) }
      if diagonal(h.tiles, w.tiles, shares, tiles) then
        for _, run in ipairs(pieces.images) do diagonals(h, w, shares, run, list) end
      else
        pieces.h, pieces.w = pieces_of(h.tiles, rows, shares), cut.piece_runs(w.tiles, columns)
        blocks.of_pieces(h, w, pieces, list)
      end
    end
  end
  return list
end

-- Calls body(h run, w run, the class of the rectangle that they are in).
function blocks.each_run(block, body)
  for _, r in ipairs(block.rectangles) do
    for _, hr in ipairs(r.h.runs) do
      for _, wr in ipairs(r.w.runs) do body(hr, wr, r.classes[hr.tile.class][wr.tile.class]) end
    end
  end
end

-- Calls body(h run, w run, row, column, image, tile number) in loops of a driver over the tiles of a block.
function blocks.each_tile(d, block, body)
  blocks.each_run(block, function(hr, wr, class)
    d:loop("image", 0, block.images, 1, function(image)
      d:loop("row", 0, hr.count, 1, function(row)
        d:loop("column", 0, wr.count, 1, function(column)
          body(hr, wr, row, column, image,
            (image * class.rows + row + hr.at) * class.columns + column + (wr.at + class.first))
        end)
      end)
    end)
  end)
end

-- First tile and number of tiles that have a frequency.
function blocks.having(classes, h_big_only, w_big_only)
  local first = w_big_only and classes[1][1].first or 0
  local stop = classes.total
  if h_big_only then stop = classes[1][1].first + classes[1][1].tiles
  elseif w_big_only then stop = classes[2][2].first end
  return first, stop - first
end

return blocks
