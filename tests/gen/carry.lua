-- Five programs of the kinds that the families are made of, and one of every operation, through the whole C form: lowered,
-- compiled in each body of vec.h for each target that this machine has, and compared bit for bit with plain C; and through the
-- machine form.
local suite = require "suite"
local program, targets, c, machine = require "program", require "targets", require "lower/c", require "lower/machine"
local registers = require "registers"

---- the programs ----------------------------------------------------------------------------------------------------
local builders = {}

-- A part of n elements as vectors: calls body(v, first element, lane count or nil) for each.
local function vectors(k, n, body)
  for v = 0, (n + k.lanes - 1) // k.lanes - 1 do
    local rest = n - v * k.lanes
    body(v, v * k.lanes, rest < k.lanes and rest or nil)
  end
end

local function narrow(k) return math.max(1, 2 * k.lanes - 1) end -- a full vector and one short of a lane

-- 4 pixels at both borders of a row of 4, 3 taps, pad 1, 5 channels; rows of taps as an argument; relu, then clamp below 2.
function builders.tile(k)
  local pixels, channels, outputs = 4, 5, narrow(k)
  local src, weights, dst, rows = k:pointer("src", "in"), k:pointer("weights", "in"), k:pointer("dst", "out"), k:count "rows"
  local acc, w = {}, k:vector "w"
  for m = 0, pixels - 1 do
    acc[m] = {}
    vectors(k, outputs, function(v) acc[m][v] = k:vector(("acc%d_%d"):format(m, v)); k:zero(acc[m][v]) end)
  end
  local segments = { { tap = 0, from = 1, to = 3 }, { tap = 1, from = 0, to = 3 }, { tap = 2, from = 0, to = 2 } }
  k:loop(rows, function()
    for _, s in ipairs(segments) do
      local row = k:copy("row", src)
      k:loop(channels, function()
        vectors(k, outputs, function(v, first, count)
          k:load(w, k:at(weights, first), count and 0, count)
          for m = s.from, s.to do k:fma(acc[m][v], w, k:memory_broadcast(k:at(row, (m + s.tap - 1) * channels))) end
        end)
        k:advance(row, 1)
        k:advance(weights, outputs)
      end)
    end
    k:advance(src, pixels * channels)
  end)
  local zero, high = k:vector "zero", k:vector "high"
  k:zero(zero)
  k:constant(high, 2)
  for m = 0, pixels - 1 do
    vectors(k, outputs, function(v, first, count)
      k:max(acc[m][v], zero, acc[m][v])
      k:min(acc[m][v], high, acc[m][v])
      k:store(k:at(dst, m * outputs + first), acc[m][v], count and 0, count)
    end)
  end
end

-- 3 channels of `pixels` pixels to 3 rows; a part of the vectors is a group of neighbouring channels of one pixel.
local function relayout_block(k, src, dst, row, pixels)
  for group = 0, 2, k.part do
    local channels = math.min(k.part, 3 - group)
    local r = {}
    for m = 0, k.part - 1 do
      r[m + 1] = k:vector "r"
      local inserts, ranged = {}, false
      for part = 0, k.lanes // k.part - 1 do
        local pixel = part * k.part + m
        local at = 3 * pixel + group
        if pixel < pixels and at + k.part > 3 * pixels then -- an insert would read past the end
          k:load(r[m + 1], k:at(src, at - part * k.part), part * k.part, channels)
          ranged = true
        elseif pixel < pixels then
          inserts[#inserts + 1] = { part = part, at = at }
        end
      end
      if not ranged then k:zero(r[m + 1]) end
      for _, i in ipairs(inserts) do k:insert(r[m + 1], i.part, k:at(src, i.at)) end
    end
    k:transpose(r)
    for channel = 0, channels - 1 do
      k:store(k:at(dst, (group + channel) * row), r[channel + 1], 0, pixels)
    end
  end
end

function builders.relayout(k)
  if k.lanes == 1 then return false end
  local src, dst = k:pointer("src", "in"), k:pointer("dst", "out")
  local row = 3 * k.lanes - 1
  k:loop(2, function()
    relayout_block(k, src, dst, row, k.lanes)
    k:advance(src, 3 * k.lanes)
    k:advance(dst, k.lanes)
  end)
  relayout_block(k, src, dst, row, k.lanes - 1)
end

-- The weights' gradient of 3 taps x 3 channels, pad 1, stride 1, 2 output channels: lanes are the window of 9. `middle` outputs
-- lie between the first and the last one, whose windows are cut.
function builders.window(k)
  local window, channels, outputs = 9, 3, 2
  local src, diff, dst, middle = k:pointer("src", "in"), k:pointer("diff", "in"), k:pointer("dst", "out"), k:count "middle"
  local acc, x = {}, k:vector "x"
  for o = 0, outputs - 1 do
    vectors(k, window, function(v) acc[o * window + v] = k:vector "acc"; k:zero(acc[o * window + v]) end)
  end
  local function pixel(low, high) -- the valid part of the window
    vectors(k, window, function(v, first)
      local from, to = math.max(low - first, 0), math.min(high - first, k.lanes)
      if from >= to then return end
      k:load(x, k:at(src, first - channels), from, to - from)
      for o = 0, outputs - 1 do k:fma(acc[o * window + v], x, k:memory_broadcast(k:at(diff, o))) end
    end)
    k:advance(src, channels)
    k:advance(diff, outputs)
  end
  pixel(channels, window)
  k:loop(middle, function() pixel(0, window) end)
  pixel(0, window - channels)
  for o = 0, outputs - 1 do
    vectors(k, window, function(v, first, count)
      k:store(k:at(dst, o * window + first), acc[o * window + v], count and 0, count)
    end)
  end
end

-- B' d B for a 6x6 tile, points {0, +-1, +-2, inf}; the tile's first row and last column lie outside.
function builders.winograd(k)
  local channels = narrow(k)
  local src, dst = k:pointer("src", "in"), k:pointer("dst", "out")
  local c2, c4, c5 = k:vector "two", k:vector "four", k:vector "five"
  k:constant(c2, 2)
  k:constant(c4, 4)
  k:constant(c5, 5)
  local d, t, a, b = {}, k:vector "t", k:vector "a", k:vector "b"
  for i = 0, 5 do d[i] = k:vector("d" .. i) end
  local slots = {}
  for i = 0, 35 do slots[i] = k:slot() end
  local function edge(d0, d2, d4) -- 4 d0 - 5 d2 + d4
    k:mul(t, d0, c4)
    k:fnma(t, d2, c5)
    k:add(t, t, d4)
    return t
  end
  local function one_dimension(put)
    put(0, edge(d[0], d[2], d[4]))
    put(5, edge(d[1], d[3], d[5]))
    k:mul(a, d[2], c4)
    k:sub(a, d[4], a)
    k:mul(b, d[1], c4)
    k:sub(b, d[3], b)
    k:add(t, a, b)
    put(1, t)
    k:sub(t, a, b)
    put(2, t)
    k:sub(a, d[4], d[2])
    k:sub(b, d[3], d[1])
    k:mul(b, b, c2)
    k:add(t, a, b)
    put(3, t)
    k:sub(t, a, b)
    put(4, t)
  end
  vectors(k, channels, function(_, first, count)
    for x = 0, 5 do
      for y = 0, 5 do
        if y == 0 or x == 5 then k:zero(d[y])
        else k:load(d[y], k:at(src, ((y - 1) * 5 + x) * channels + first), count and 0, count) end
      end
      one_dimension(function(u, r) k:spill(slots[u * 6 + x], r) end)
    end
    for u = 0, 5 do
      for x = 0, 5 do k:fill(d[x], slots[u * 6 + x]) end
      one_dimension(function(v, r)
        local to = k:at(dst, (u * 6 + v) * channels + first)
        if count then k:store(to, r, 0, count) else k:stream(to, r) end -- not aligned for most u, v
      end)
    end
  end)
end

-- OIHW with I = 3, 3x3 taps and one vector of outputs to [k][i][o]; `at` holds where each (i, k) goes.
function builders.pack(k)
  if k.lanes == 1 then return false end
  local length = 27 -- of one output: (i, k)
  local src, dst, at = k:pointer("src", "in"), k:pointer("dst", "out"), k:table "at"
  local r = {}
  for m = 1, k.part do r[m] = k:vector "r"; k:zero(r[m]) end
  local function gather()
    for m = 0, k.part - 1 do
      for part = 0, k.lanes // k.part - 1 do k:insert(r[m + 1], part, k:at(src, (part * k.part + m) * length)) end
    end
    k:transpose(r)
  end
  k:loop(length // k.part, function()
    k:prefetch(k:at(src, length))
    gather()
    for i = 1, k.part do k:stream(k:at(k:pick("to", dst, at, i - 1)), r[i]) end
    k:advance(src, k.part)
    k:advance(at, k.part)
  end)
  local back = k.part - length % k.part
  k:advance(src, -back)
  k:advance(at, -back)
  gather() -- the last ones once more, by parts
  for i = 1, k.part do
    local to = k:pick("to", dst, at, i - 1)
    for part = 0, k.lanes // k.part - 1 do k:extract(k:at(to, part * k.part), r[i], part) end
  end
end

-- Every arithmetic operation with every kind of operand, constants, every range.
local arithmetic = { "add", "sub", "mul", "max", "min", "fma", "fnma" }
local constants = { 0.1, -0.0, 1 / 3, 2.5e-30, math.huge, -math.huge }
function builders.every(k)
  local x, y, z, dst = k:pointer("x", "in"), k:pointer("y", "in"), k:pointer("z", "in"), k:pointer("dst", "out")
  local a, b, d = k:vector "a", k:vector "b", k:vector "d"
  local function put(first, count)
    k:store(k:at(dst), d, first, count)
    k:advance(dst, k.lanes)
  end
  k:load(a, k:at(x))
  k:load(b, k:at(y))
  for _, name in ipairs(arithmetic) do
    for _, operand in ipairs { b, k:memory(k:at(y)), k:memory_broadcast(k:at(y)) } do
      k:load(d, k:at(z))
      k[name](k, d, a, operand)
      put()
    end
  end
  k:load(d, k:at(z))
  k:sub(d, a, d) -- the destination among the operands
  put()
  k:broadcast(d, k:at(x))
  put()
  for _, value in ipairs(constants) do k:constant(d, value); put() end
  for times = 1, 5 do
    for phase = 0, times - 1 do
      k:spread(d, k:at(x), times, phase, (phase + k.lanes - 1) // times + 1 - (phase == 1 and k.lanes > 2 and 1 or 0))
      put()
    end
  end
  for step = 2, k.lanes do -- of groups in the lanes, those that are whole
    for skip = 0, step - 1 do
      k:spread(d, k:at(x), step, 0, skip == 0 and k.lanes or k.lanes // step * step, step, skip)
      put(0, k.lanes // step * step)
    end
  end
  for first = 0, k.lanes - 1 do
    for count = 1, k.lanes - first do
      k:load(d, k:at(z))
      k:patch(d, k:at(x), first, count)
      put()
      k:load(d, k:at(x), first, count)
      put()
      put(first, count)
      k:load(d, k:at(z))
      local operand = ({ b, k:memory(k:at(y)), k:memory_broadcast(k:at(y)) })[(first + count) % 3 + 1]
      k[first % 2 == 0 and "fma" or "fnma"](k, d, a, operand, first, count)
      put()
    end
  end
end

---- plain C ---------------------------------------------------------------------------------------------------------
-- Compiled with -DT=type -DL=lanes -DVECTORS=0|1. Each array ends at a page that cannot be touched, and some begin at one.
local plain = [[
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#define FMA(x, y, z) (sizeof(T) == 4 ? (T)fmaf((float)(x), (float)(y), (float)(z)) : (T)fma(x, y, z))
#define N (L > 1 ? 2 * L - 1 : 1)
static unsigned long long state = SEED;
static const char *name;
static int bad;

static T *guarded(long n) {
    long size = (n * (long)sizeof(T) + 4095) / 4096 * 4096;
    char *p = mmap(NULL, size + 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p, 4096, PROT_NONE) || mprotect(p + 4096 + size, 4096, PROT_NONE)) exit(3);
    return (T *)(p + 4096 + size) - n;
}
static T *flush_left(long n) {
    T *p = guarded((n * (long)sizeof(T) + 4095) / 4096 * 4096 / (long)sizeof(T));
    return p;
}
static T number(void) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (T)((double)(state >> 40) / 8388608.0 - 1.0);
}
static T *fill(T *p, long n) {
    for (long i = 0; i < n; i++) p[i] = number();
    return p;
}
static T *output(long n) {
    T *p = guarded(n);
    for (long i = 0; i < n; i++) p[i] = 77;
    return p;
}
static void same(const T *got, const T *expected, long n) {
    for (long i = 0; i < n; i++) {
        if (memcmp(got + i, expected + i, sizeof(T)) == 0 || (got[i] != got[i] && expected[i] != expected[i])) continue;
        fprintf(stderr, "%s: element %ld is %.17g, expected %.17g\n", name, i, (double)got[i], (double)expected[i]);
        bad = 1;
        return;
    }
}

void tile(const T *src, const T *weights, T *dst, long rows);
static void test_tile(void) {
    for (long rows = 0; rows < 4; rows++) {
        long in = rows * 20, taps = rows * 15 * N;
        T *want = malloc(4 * N * sizeof(T)), *dst = output(4 * N);
        T *src = fill(rows % 2 ? flush_left(in) : guarded(in), in), *w = fill(guarded(taps), taps);
        for (long m = 0; m < 4; m++)
            for (long o = 0; o < N; o++) {
                T sum = 0;
                for (long r = 0; r < rows; r++)
                    for (long t = 0; t < 3; t++)
                        for (long i = 0; i < 5; i++)
                            if (m + t - 1 >= 0 && m + t - 1 < 4)
                                sum = FMA(w[((r * 3 + t) * 5 + i) * N + o], src[(r * 4 + m + t - 1) * 5 + i], sum);
                sum = 0 > sum ? 0 : sum;
                want[m * N + o] = 2 < sum ? 2 : sum;
            }
        tile(src, w, dst, rows);
        same(dst, want, 4 * N);
        free(want);
    }
}

void window(const T *src, const T *diff, T *dst, long middle);
static void test_window(void) {
    for (long middle = 0; middle < 6; middle++) {
        long w = middle + 2;
        T want[18], *dst = output(18);
        T *src = fill(middle % 2 ? flush_left(w * 3) : guarded(w * 3), w * 3), *diff = fill(guarded(w * 2), w * 2);
        for (long o = 0; o < 2; o++)
            for (long t = 0; t < 3; t++)
                for (long i = 0; i < 3; i++) {
                    T sum = 0;
                    for (long x = 0; x < w; x++)
                        if (x + t - 1 >= 0 && x + t - 1 < w) sum = FMA(src[(x + t - 1) * 3 + i], diff[x * 2 + o], sum);
                    want[o * 9 + t * 3 + i] = sum;
                }
        window(src, diff, dst, middle);
        same(dst, want, 18);
    }
}

static void transform(T *y, const T *d, long s) {
    T a = d[4 * s] - d[2 * s] * 4, b = d[3 * s] - d[s] * 4, e = d[4 * s] - d[2 * s], f = (d[3 * s] - d[s]) * 2;
    T t[6] = { FMA(-d[2 * s], 5, d[0] * 4) + d[4 * s], a + b, a - b, e + f, e - f, FMA(-d[3 * s], 5, d[s] * 4) + d[5 * s] };
    for (long i = 0; i < 6; i++) y[i * s] = t[i];
}
void winograd(const T *src, T *dst);
static void test_winograd(void) {
    T *src = fill(guarded(25 * N), 25 * N), *dst = output(36 * N), *want = malloc(36 * N * sizeof(T));
    for (long c = 0; c < N; c++) {
        T d[36], b[36];
        for (long y = 0; y < 6; y++)
            for (long x = 0; x < 6; x++) d[y * 6 + x] = y == 0 || x == 5 ? 0 : src[((y - 1) * 5 + x) * N + c];
        for (long x = 0; x < 6; x++) transform(b + x, d + x, 6);
        for (long y = 0; y < 6; y++) transform(b + y * 6, b + y * 6, 1);
        for (long i = 0; i < 36; i++) want[i * N + c] = b[i];
    }
    winograd(src, dst);
    same(dst, want, 36 * N);
    free(want);
}

#if VECTORS
void relayout(const T *src, T *dst);
static void test_relayout(void) {
    long w = 3 * L - 1;
    T *src = fill(guarded(3 * w), 3 * w), *dst = output(3 * w), *want = malloc(3 * w * sizeof(T));
    for (long x = 0; x < w; x++)
        for (long c = 0; c < 3; c++) want[c * w + x] = src[x * 3 + c];
    relayout(src, dst);
    same(dst, want, 3 * w);
    free(want);
}

void pack(const T *src, T *dst, const long *at);
static void test_pack(void) {
    for (int shift = 0; shift < 2; shift++) { /* one element before the guard page: streams are not aligned */
        long at[27];
        T *src = fill(guarded(27 * L), 27 * L), *dst = output(27 * L + shift), *want = malloc(27 * L * sizeof(T));
        for (long i = 0; i < 3; i++)
            for (long k = 0; k < 9; k++) {
                at[i * 9 + k] = (k * 3 + i) * L;
                for (long o = 0; o < L; o++) want[(k * 3 + i) * L + o] = src[o * 27 + i * 9 + k];
            }
        pack(src, dst, at);
        same(dst, want, 27 * L);
        free(want);
    }
}
#endif

void every(const T *x, const T *y, const T *z, T *dst);
static void test_every(void) {
    static const double special[] = { 0.0, -0.0, NAN, INFINITY, -INFINITY };
    for (int round = 0; round < 20; round++) {
        T *x = fill(guarded(L), L), *y = fill(guarded(L), L), *z = fill(guarded(L), L);
        for (long l = 0; l < L; l++) {
            if (rand() % 3 == 0) x[l] = (T)special[rand() % 5];
            if (rand() % 3 == 0) y[l] = (T)special[rand() % 5];
        }
        long n = (31 + 15 + L * (L + 1) * 5 / 2) * L, at = 0;
        T *dst = output(n), *want = malloc(n * sizeof(T));
        for (long i = 0; i < n; i++) want[i] = 77;
#define PUT(value) { for (long l = 0; l < L; l++) want[at + l] = (T)(value); at += L; }
#define THREE(value) { \
            const T *q = y; long s = 1; \
            for (int i = 0; i < 3; i++) { s = i < 2; PUT(value) } }
#define Y q[l * s]
        THREE(x[l] + Y)
        THREE(x[l] - Y)
        THREE(x[l] * Y)
        THREE(x[l] > Y ? x[l] : Y)
        THREE(x[l] < Y ? x[l] : Y)
        THREE(FMA(x[l], Y, z[l]))
        THREE(FMA(-x[l], Y, z[l]))
        PUT(x[l] - z[l])
        PUT(x[0])
        static const double constants[] = { 0.1, -0.0, 1.0 / 3, 2.5e-30, INFINITY, -INFINITY };
        for (int i = 0; i < 6; i++) PUT(constants[i])
        for (long times = 1; times <= 5; times++)
            for (long phase = 0; phase < times; phase++) {
                long elements = (phase + L - 1) / times + 1 - (phase == 1 && L > 2);
                if (times >= phase + L) elements = 1; /* a broadcast */
                PUT((phase + l) / times < elements ? x[(phase + l) / times] : 0)
            }
        for (long step = 2; step <= L; step++)
            for (long skip = 0; skip < step; skip++)
                PUT(l < L / step * step ? x[l / step * step + skip] : 77)
        for (long first = 0; first < L; first++)
            for (long count = 1; count <= L - first; count++) {
                PUT(l >= first && l < first + count ? x[0] : z[l])
                PUT(l >= first && l < first + count ? x[l] : 0)
                for (long l = first; l < first + count; l++) want[at + l] = x[l];
                at += L;
                const T *q = y;
                long s = (first + count) % 3 < 2, whole = L == 1 || count == L;
                PUT(!whole && (l < first || l >= first + count) ? z[l] : FMA(first % 2 ? -x[l] : x[l], Y, z[l]))
            }
        every(x, y, z, dst);
        same(dst, want, at);
        free(want);
    }
}

int main(void) {
    name = "tile", test_tile();
    name = "window", test_window();
    name = "winograd", test_winograd();
#if VECTORS
    name = "relayout", test_relayout();
    name = "pack", test_pack();
#endif
    name = "every", test_every();
    return bad;
}
]]

---- build and run ---------------------------------------------------------------------------------------------------
local function read(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  pipe:close()
  return text
end

local function write(path, text)
  local f = assert(io.open(path, "w"))
  f:write(text)
  f:close()
end

local cc = os.getenv "CC" or "cc"
local seed = math.tointeger(tonumber(os.getenv "CONVGEN_SEED")) or os.time()
local folder = read "mktemp -d":gsub("%s+$", "")
local features = " " .. read "grep -m1 ^flags /proc/cpuinfo 2>/dev/null":gsub("\n", " ") .. " "

local function run(command)
  local log = folder .. "/log"
  if os.execute(("%s >%s 2>&1"):format(command, log)) then return end
  local f = assert(io.open(log))
  local text = f:read(2000) or ""
  f:close()
  error(("%s\n%s(CONVGEN_SEED=%d)"):format(command, text, seed), 0)
end

local function here(target)
  for _, need in ipairs(target.needs) do
    if not features:find(" " .. need .. " ", 1, true) then return false end
  end
  return true
end

-- All programs of one type and target in one file; they must be visible to the plain C, so not static.
local function source(type_, target, form)
  local text = { c.prelude(type_, target), form == machine and machine.prelude() or nil }
  for _, name in ipairs { "tile", "relayout", "window", "winograd", "pack", "every" } do
    local k = program.new { name = name, type = type_, target = target }
    if builders[name](k) ~= false then
      k:finish()
      assert(#program.print(k) > 0)
      if k.patterns then text[1] = text[1] .. c.beyond { k } end
      local fits = form ~= machine or registers.allocate(k, target) -- else the plain C finds the C form
      text[#text + 1] = (fits and form or c).kernel(k, targets.avx2):gsub("^static ", "")
      if form == machine and fits then text[#text + 1] = ('__asm__(".globl %s");'):format(name) end
    end
  end
  return table.concat(text, "\n")
end

local flags = "-std=gnu11 -Wall -Wextra -Wshadow -Werror -ffp-contract=off -fPIC"
local has_tcc = os.execute "command -v tcc >/dev/null 2>&1"
local names = { f32 = "float", f64 = "double" }

-- body: how vec.h is to be read; compiler: a command line up to the files.
local function compare(stem, compiler)
  run(("%s -c -o %s.o %s.c"):format(compiler, stem, stem))
  run(("%s -o %s.test %s.plain.o %s.o -lm"):format(cc, stem, stem, stem))
  run(stem .. ".test")
end

for _, name in ipairs { "avx512", "avx2", "portable", "scalar" } do
  local target = targets[name]
  for _, type_ in ipairs { "f32", "f64" } do
    if here(target) then
      local stem = ("%s/%s_%s"):format(folder, type_, name)
      local lanes = target.lanes or target.bits // 8 // (type_ == "f32" and 4 or 8)
      suite.case(stem, function()
        write(stem .. ".c", source(type_, target, c))
        write(stem .. ".plain.c", plain)
        run(("%s -std=gnu11 -O1 -ffp-contract=off -DT=%s -DL=%d -DVECTORS=%d -DSEED=%dull -c -o %s.plain.o %s.plain.c"):format(cc,
          names[type_], lanes, lanes > 1 and 1 or 0, seed, stem, stem))
      end)
      local fma = target == targets.portable and features:find(" fma ", 1, true) and "-mfma" or ""
      for body = lanes > 1 and 1 or 3, 3 do
        if body > 1 or name ~= "portable" or fma ~= "" then
          suite.case(("%s body %d"):format(stem, body), function()
            compare(stem, ("%s %s -O3 %s %s -DCG_BODY=%d"):format(cc, flags, target.flags, body == 1 and fma or "", body))
          end)
        end
      end
      if name ~= "portable" and here(targets.avx2) then
        suite.case(stem .. " machine form", function()
          write(stem .. "_machine.c", source(type_, target, machine))
          run(("cp %s.plain.o %s_machine.plain.o"):format(stem, stem))
          compare(stem .. "_machine", ("%s %s -O3"):format(cc, flags))
        end)
      end
      if has_tcc then suite.case(stem .. " tcc", function() compare(stem, "tcc -nostdlib -nostdinc") end) end
    end
  end
end

os.execute(("rm -rf '%s'"):format(folder))
return suite.failures()
