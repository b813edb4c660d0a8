-- emit_words.lua: what emitted files say of a layer to people: its mathematics, shapes, operands, errors.
--
-- Here no code is made; a layer is what emit.lua reads: name, problem, kernels.
local types = require "types"
local accuracies = require "accuracies"
local activations, parts = require "activations", require "parts"
local dual = require "dual"
local words = {}

-- Words as lines of at most so many characters.
function words.wrapped(text, width)
  local lines = { "" }
  for word in text:gmatch "%S+" do
    if #lines[#lines] + #word > width and lines[#lines] ~= "" then lines[#lines + 1] = "" end
    lines[#lines] = lines[#lines] .. (lines[#lines] == "" and "" or " ") .. word
  end
  return lines
end

local axis_names = { "d", "h", "w" }

-- The spatial axes that a problem has: those that are more than 1 everywhere, w at least.
local function axes_of(p)
  local list = {}
  for i = 1, 3 do
    if i == 3 or #list > 0 or p.input[i] > 1 or p.kernel[i] > 1 or p.output[i] > 1 then list[#list + 1] = i end
  end
  return list
end

---- operands: what each tensor is called, which way it goes, its shape ------------------------------------------------

local function image(p, sizes, channels)
  local shape = { p.batch }
  if p.layout == "nchw" then shape[2] = channels end
  for _, i in ipairs(axes_of(p)) do shape[#shape + 1] = sizes[i] end
  if p.layout == "nhwc" then shape[#shape + 1] = channels end
  return shape
end

local function weights_shape(asked)
  local p = dual.of(asked)
  local icg, shape = p.ic // p.groups, {}
  if p.layout == "nchw" then shape = { p.oc, icg } end
  for _, i in ipairs(axes_of(p)) do shape[#shape + 1] = p.kernel[i] end
  if p.layout == "nhwc" then shape[#shape + 1], shape[#shape + 2] = icg, p.oc end
  return shape
end

local pass_words = { forward = "forward", backward_data = "backward data", backward_weights = "backward weights" }
function words.pass(p) return (p.op == "transposed" and "transposed, " or "") .. pass_words[p.pass] end

-- The type of an operand in C.
function words.c_type(p, slot) return types.c(types.of(p, slot)) end

-- By pass, in the order of parameters: the member of cg_call, the parameter's name, and written, where it is an output.
local parameters = {
  forward = { { "src", "src" }, { "weights", "weights" }, { "bias", "bias" }, { "residual", "residual" },
    { "slope", "slope" }, { "dst", "dst", true } },
  backward_data = { { "dst", "diff_dst" }, { "weights", "weights" }, { "src", "diff_src", true } },
  backward_weights = { { "src", "src" }, { "dst", "diff_dst" }, { "weights", "diff_weights", true },
    { "bias", "diff_bias", true } },
}

function words.operands(p)
  local dst, list = image(p, p.output, p.oc), {}
  local shapes = { src = image(p, p.input, p.ic), dst = dst, weights = weights_shape(p), bias = p.bias and { p.oc },
    residual = p.epilogue.residual and dst, slope = parts.slopes(p) and { p.oc } }
  local apart = { src = p.src_stride, dst = p.dst_stride, residual = p.dst_stride }
  for _, row in ipairs(parameters[p.pass]) do
    local slot, name, written = table.unpack(row)
    if shapes[slot] then
      list[#list + 1] = { slot = slot, name = name, written = written, shape = shapes[slot], type = types.of(p, slot),
        apart = (apart[slot] or 0) > 0 and apart[slot] or nil }
    end
  end
  return list
end

function words.shape(shape) return "[" .. table.concat(shape, "][") .. "]" end

function words.elements(shape)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  return n
end

-- What the dimensions of those shapes are.
function words.layout(p)
  local space, taps = {}, {}
  for n, i in ipairs(axes_of(p)) do space[n], taps[n] = axis_names[i], "k" .. axis_names[i] end
  local one, all = "input", "output" -- channels of a group, and of all groups
  if p.op == "transposed" then one, all = all, one end
  local image, weights = "[n][%s][channel]", ("[%%s][%s channel][%s channel]"):format(one, all)
  if p.layout == "nchw" then image, weights = "[n][channel][%s]", ("[%s channel][%s channel][%%s]"):format(all, one) end
  return ("%s; weights %s%s"):format(image:format(table.concat(space, "][")), weights:format(table.concat(taps, "][")),
    p.groups > 1 and (", %s channels of a group"):format(one) or "")
end

---- mathematics -------------------------------------------------------------------------------------------------------

local function scaled(name, factor) return factor == 1 and name or ("%s*%d"):format(name, factor) end

local function plus(text, number)
  if number == 0 then return text end
  return ("%s %s %d"):format(text, number < 0 and "-" or "+", math.abs(number))
end

-- The input position under tap k of output o; transposed, the output position of input i.
local function position(p, i)
  local a = axis_names[i]
  local of = (p.op == "transposed" and "i" or "o") .. a
  if p.kernel[i] == 1 then return plus(scaled(of, p.stride[i]), -p.pad[i]) end
  return plus(scaled(of, p.stride[i]) .. " + " .. scaled("k" .. a, p.dilation[i]), -p.pad[i])
end

local function indices(p, channel, spatial)
  local list = { "n" }
  if p.layout == "nchw" then list[2] = channel end
  table.move(spatial, 1, #spatial, #list + 1, list)
  if p.layout == "nhwc" then list[#list + 1] = channel end
  return "[" .. table.concat(list, ", ") .. "]"
end

-- What the formulas of a problem are made of: names of its taps and outputs, src and dst and weights under an output.
local function terms_of(p)
  local icg, t = p.ic // p.groups, { taps = {}, outputs = {}, inputs = {}, positions = {} }
  for n, i in ipairs(axes_of(p)) do
    local a = axis_names[i]
    t.taps[n], t.outputs[n], t.inputs[n], t.positions[n] = "k" .. a, "o" .. a, "i" .. a, position(p, i)
  end
  t.from = p.groups > 1 and (icg == 1 and "g" or ("g*%d + i"):format(icg)) or "i"
  t.w = (p.layout == "nchw" and "weights[c, i, %s]" or "weights[%s, i, c]"):format(table.concat(t.taps, ", "))
  t.src, t.dst = "src" .. indices(p, t.from, t.positions), "dst" .. indices(p, "c", t.outputs)
  t.over, t.pixels = table.concat(t.taps, ","), table.concat(t.outputs, ",")
  return t
end

-- The same of a transposed one, whose channel c is one of a group.
local function transposed_terms_of(p)
  local ocg, t = p.oc // p.groups, terms_of(p)
  t.to = p.groups > 1 and (ocg == 1 and "g" or ("g*%d + c"):format(ocg)) or "c"
  t.w = (p.layout == "nchw" and "weights[i, c, %s]" or "weights[%s, c, i]"):format(t.over:gsub(",", ", "))
  t.src, t.dst = "src" .. indices(p, "i", t.inputs), "dst" .. indices(p, t.to, t.positions)
  t.whole = "dst" .. indices(p, t.to, t.outputs)
  return t
end

-- What is done with the sums of a forward pass.
local function after_sums(p, channel, t, put)
  local e = p.epilogue
  local residual, activation = e.residual and "+ residual" .. indices(p, channel, t.outputs), activations.words(e)
  if residual and not e.residual_last then put("    %s", residual) end
  if activation then put("%s", activation) end
  if e.residual_last then put("then %s", residual) end
end

-- Where `places` are at the positions under taps.
local function where(t, places)
  local list = {}
  for n, place in ipairs(places) do list[n] = ("%s = %s"):format(place, t.positions[n]) end
  return table.concat(list, " and ")
end

local mathematics = {
  forward = function(p, t, put)
    put("%s = %ssum over %s,i of", t.dst, p.bias and "bias[c] + " or "", t.over)
    put("    %s * %s", t.src, t.w)
    after_sums(p, "c", t, put)
  end,
  backward_data = function(p, t, put)
    put("diff_src%s = sum over %s,c, where an output has", indices(p, t.from, t.inputs), t.over)
    put("    %s, of", where(t, t.inputs))
    put("    diff_%s * %s", t.dst, t.w)
  end,
  backward_weights = function(p, t, put)
    put("diff_%s = sum over n,%s of", t.w, t.pixels)
    put("    %s * diff_%s", t.src, t.dst)
    if p.bias then put("diff_bias[c] = sum over n,%s of diff_%s", t.pixels, t.dst) end
  end,
}

local transposed = {
  forward = function(p, t, put)
    put("%s = %ssum over %s,i, where an input has", t.whole, p.bias and ("bias[%s] + "):format(t.to) or "", t.over)
    put("    %s, of", where(t, t.outputs))
    put("    %s * %s", t.src, t.w)
    after_sums(p, t.to, t, put)
  end,
  backward_data = function(_, t, put)
    put("diff_%s = sum over %s,c of", t.src, t.over)
    put("    diff_%s * %s", t.dst, t.w)
  end,
  backward_weights = function(p, t, put)
    put("diff_%s = sum over n,%s of", t.w, table.concat(t.inputs, ","))
    put("    %s * diff_%s", t.src, t.dst)
    if p.bias then put("diff_bias[%s] = sum over n,%s of diff_%s", t.to, t.pixels, t.whole) end
  end,
}

-- Lines of a formula.
function words.mathematics(p)
  local lines, back = {}, p.op == "transposed"
  local function put(text, ...) lines[#lines + 1] = text:format(...) end
  if back then transposed[p.pass](p, transposed_terms_of(p), put) else mathematics[p.pass](p, terms_of(p), put) end
  if p.accumulate then put "added to what is there, after all sums" end
  local c = dual.of(p)
  local icg, ocg, all, one, what = c.ic // p.groups, c.oc // p.groups, "c", "i", "input"
  if back then all, one, what = "i", "c", "output" end
  if p.groups > 1 and icg == 1 and ocg == 1 then
    put("with each channel alone: g = %s, %s = 0", all, one)
  elseif p.groups > 1 then
    put("in %d groups: %s goes over the %d %s channel%s of the group g = %s / %d, whole-numbered", p.groups, one, icg,
      what, icg == 1 and "" or "s", all, ocg)
  end
  return lines
end

---- errors ------------------------------------------------------------------------------------------------------------

-- The most terms of one output.
function words.terms(asked)
  local p = dual.of(asked)
  local taps, more = p.kernel[1] * p.kernel[2] * p.kernel[3], p.accumulate and 1 or 0
  if p.pass == "backward_weights" then return p.batch * p.output[1] * p.output[2] * p.output[3] + more end
  local channels = p.pass == "backward_data" and p.oc or p.ic
  return channels // p.groups * taps + (p.bias and 1 or 0) + (p.epilogue.residual and 1 or 0) + more
end

function words.budget(p) return accuracies[p.accuracy].budget end

-- Whether all of a layer's kernels have one order of sums, and so the same bits.
function words.alike(layer)
  for _, kernel in ipairs(layer.kernels) do if kernel.chains ~= 1 then return false end end
  return true
end

-- `alike` says that all targets' kernels are of this order.
local function proven(p, chains, alike)
  local k, u = words.terms(p), types.rows[types.computed(p)].digits
  local same = (alike and "the same bits everywhere; " or "the same bits wherever this kernel runs; ")
  local bound = ("|error| <= g * sum |a||b| with g = K u / (1 - K u), K = %d, u = 2^-%d"):format(k, u)
  if p.pass == "backward_weights" then
    return { ("blocks of at most 512 %s pixels are chains of fused multiply-adds, added in order:"):format(
        p.op == "transposed" and "input" or "output"),
      same .. bound }
  elseif chains == 1 then
    return { "an output is one chain of fused multiply-adds over taps, then channels, the bias last:",
      same .. bound }
  end
  return { ("an output is %d chains of fused multiply-adds, added pairwise;"):format(chains), bound }
end

-- What the record says, which nobody measured again for this file.
function words.recorded(kernel)
  if not kernel.normwise then return nil end
  local text = ("recorded, on uniform [-1, 1]: normwise %.2g"):format(kernel.normwise)
  if kernel.vs_loop then text = text .. (", %.2f of a plain loop's"):format(kernel.vs_loop) end
  if kernel.vs_bound then text = text .. (", %.2g of the bound at most"):format(kernel.vs_bound) end
  return text
end

-- Lines on the error of a kernel: what is proven, and what was measured.
function words.certificate(p, kernel, alike)
  local lines
  if kernel.chains > 0 then lines = proven(p, kernel.chains, alike)
  else
    local budget = words.budget(p)
    lines = { ("sums are transformed: the normwise error is held to %g times that of a plain loop,"):format(budget),
      "on independent uniform [-1, 1] data (accuracy " .. p.accuracy .. ")" }
  end
  lines[#lines + 1] = words.recorded(kernel)
  return lines
end

return words
