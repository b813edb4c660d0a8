"""caller.py HEADER NETWORK: a C program that calls net_run on files, as the header says.
caller.py --arrays NETWORK: random inputs as in_N.npy and in_N.bin, their words for `convgen run` in inputs.txt.
caller.py --compare NETWORK: what the program wrote, out_N.bin, against out/NAME.npy."""
import json
import re
import sys

import numpy


def words(path):
    for line in open(path):
        match = re.match(r'(input|output)\s+("(?:[^"\\]|\\.)*"|\S+)(?:\s+(\S+)\s+(\S+))?', line)
        if match and match[2] != "=":
            name = match[2]
            yield match[1], json.loads(name) if name[0] == '"' else name, match[3], match[4]


def inputs(path):
    return [w[1:] for w in words(path) if w[0] == "input"]


def outputs(path):
    return [w[1] for w in words(path) if w[0] == "output"]


def arrays(path):
    random, said = numpy.random.default_rng(1), []
    for i, (name, _, dims) in enumerate(inputs(path)):
        x = random.uniform(-1, 1, [int(n) for n in dims.split("x")]).astype("float32")
        numpy.save(f"in_{i}.npy", x)
        x.tofile(f"in_{i}.bin")
        said.append(f"--input={name}=in_{i}.npy\n")
    open("inputs.txt", "w").write("".join(said))


def compare(path):
    for i, name in enumerate(outputs(path)):
        want = numpy.load("out/" + re.sub(r"[^A-Za-z0-9_.]", "_", name) + ".npy")
        got = numpy.fromfile(f"out_{i}.bin", want.dtype)
        if got.tobytes() != want.tobytes():
            print(f"{name}: {numpy.sum(got != want.ravel()) if got.size == want.size else 'all'} of {want.size} elements differ")
            sys.exit(1)


def program(header):
    text = open(header).read()
    parameters = re.search(r"void net_run\((.*), const void \*packed", text)[1].split(", ")
    sizes = dict(re.findall(r"^ \*   (\w+) +(?:input|output) +\w+ ((?:\[\d+\])+|\(one element\))", text, re.M))
    print('#include "net.h"\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n')
    print("""static void *room(size_t bytes) { return aligned_alloc(64, (bytes + 127) / 64 * 64); }
static void *read_file(const char *path, size_t bytes)
{
    void *data = room(bytes);
    FILE *f = fopen(path, "rb");
    if (!data || !f || fread(data, 1, bytes, f) != bytes) exit((fprintf(stderr, "cannot read %s\\n", path), 1));
    fclose(f);
    return data;
}
int main(int argc, char **argv)
{
    if (argc < 3 || net_choose(argv[1])) return 77;
    void *packed = room(NET_PACKED_BYTES), *workspace = room(NET_WORKSPACE_BYTES), *weights = read_file(argv[2], NET_WEIGHTS_BYTES);
    FILE *f;
    memset(packed, 255, NET_PACKED_BYTES), memset(workspace, 255, NET_WORKSPACE_BYTES);
    if (net_is_packed(packed)) return puts("it takes anything for packed"), 1;
    if (net_pack(weights, packed)) return puts("other weights"), 1;
    if (!net_is_packed(packed)) return puts("it does not know what it packed"), 1;
""")
    if "net_weights[" in text:
        print('    if (memcmp(net_weights, weights, NET_WEIGHTS_BYTES)) return puts("the array has other weights"), 1;')
    print("    free(weights);")
    names, given, made = [], 0, 0
    for p in parameters:
        type_, name = re.match(r"(.*) \*(\w+)$", p).groups()
        size = " * ".join(re.findall(r"\d+", sizes[name])) or "1"
        size = f"{size} * sizeof({type_.replace('const ', '')})"
        if p.startswith("const"):
            print(f'    {type_} *{name} = read_file("in_{given}.bin", {size});')
            given += 1
        else:
            print(f"    {type_} *{name} = memset(room({size}), 255, {size});")
            names.append((name, size))
    print(f"    for (int i = 0; i < 2; i++) net_run({', '.join(p.split('*')[1] for p in parameters)}, packed, workspace);")
    for i, (name, size) in enumerate(names):
        print(f'    if (!(f = fopen("out_{i}.bin", "wb")) || fwrite({name}, 1, {size}, f) != {size} || fclose(f)) return 1;')
    print("    return 0;\n}")


if sys.argv[1] == "--arrays":
    arrays(sys.argv[2])
elif sys.argv[1] == "--compare":
    compare(sys.argv[2])
else:
    program(sys.argv[1])
