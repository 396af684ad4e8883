# flowrun: make help lists the targets.
VERSION := 0.1.0
PREFIX  ?= /usr/local
CC      ?= gcc
comma   := ,
V ?= 0
Q := $(if $(filter 0,$(V)),@)
B       := build$(if $(SAN),-$(subst $(comma),-,$(SAN)))

# One name a stage: stages/NAME.c (or the folder stages/NAME/), tests/stages/test_NAME.c.
STAGES := source predictions decode augment stats forward tta_merge stack stack_fit decode_f2 sink record feed recording recall sheet remote inlet outlet

DEBS := gcc make pkg-config libzmq3-dev libmsgpack-dev libyaml-dev libjansson-dev libtiff-dev libjpeg62-turbo-dev \
        libturbojpeg0-dev libdnnl-dev zlib1g-dev libzstd-dev libpng-dev libhdf5-dev libmicrohttpd-dev
DEBS_CHECK := python3 python3-numpy python3-msgpack python3-pil python3-torch python3-torchvision python3-scipy python3-sklearn libopenblas0-pthread python3-pandas \
        python3-tables python3-h5py python3-opencv python3-zmq mypy spin valgrind gdb zstd iproute2 nftables slurm-wlm munge
PKGS := libzmq msgpack yaml-0.1 jansson libtiff-4 libjpeg libturbojpeg zlib libzstd libpng hdf5 libmicrohttpd

WARN   := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
CFLAGS ?= -O3 -g
FLAGS   = -std=c11 -D_GNU_SOURCE -I. $(WARN) $(CFLAGS) -ffp-contract=off -fno-math-errno \
          $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -Wno-unknown-warning-option -Wno-format-truncation -Wno-format-overflow) -DFL_VERSION='"$(VERSION)"'
LDFLAGS += -Wl,--as-needed $(if $(SAN),-fsanitize=$(SAN))
LIBS_PROTO   := -lmsgpackc -ljansson -lzstd
LIBS_RUNTIME := -lzmq -lyaml -lz $(LIBS_PROTO) -lm -lpthread
LIBS_LAUNCH  := -lmicrohttpd $(LIBS_RUNTIME)
LIBS_STAGES  := -lturbojpeg -ljpeg -ltiff -lpng -ldnnl -lm

src   = $(sort $(wildcard $1/*.c))
obj   = $(patsubst %.c,$(B)/o/%.o,$1)
# What the cuda executor plans and packs: plain arithmetic, tested without a card.
CUDA_PLAIN := $(patsubst %,stages/forward/cuda/%.c,layer program pack plans maps)
PROTO    := $(call obj,$(call src,proto))
RUNTIME  := $(filter-out $(B)/o/runtime/stage_main.o,$(call obj,$(call src,runtime)))
LAUNCH   := $(call obj,$(call src,launch))
STAGE_C  := $(wildcard $(foreach s,$(STAGES),stages/$s.c stages/$s/*.c)) $(wildcard stages/lib/*.c stages/level2/*.c) $(CUDA_PLAIN)
ifdef GUIDED                                          # they speak GCC's pragmas, and no fuzz target computes networks
STAGE_C  := $(filter-out stages/forward/cpu_kernels_avx%.c,$(STAGE_C))
endif
STAGE_O  := $(patsubst %.c,$(B)/o/%.o,$(STAGE_C))     # apart from $(B)/stages, where the executables are
TESTLIB  := $(call obj,$(call src,tests/lib))
TESTS    := $(patsubst %.c,$(B)/%,$(wildcard tests/*/test_*.c))
CUDA_TESTS := tests/forward/test_cuda_choose.c
# GUIDED: libFuzzer instead of our own replay of the corpus.
FUZZ_MAIN := $(if $(GUIDED),,$(B)/o/tests/fuzz/replay.o)
FUZZ_LINK := $(if $(GUIDED),-fsanitize=fuzzer)
FUZZ     := $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))

# The cuda executor, an object of its own: built where nvcc and cuDNN's headers are (CUDA_HOME, CUDNN_HOME say where). It needs
# libcudnn.so.9 and a driver only where it runs.
CUDA_HOME  ?= /usr/local/cuda
CUDNN_HOME ?= $(CUDA_HOME)
NVCC       := $(firstword $(wildcard $(CUDA_HOME)/bin/nvcc) $(shell command -v nvcc))
CUDNN_H    := $(firstword $(wildcard $(CUDNN_HOME)/include/cudnn_graph.h /usr/include/cudnn_graph.h /usr/include/x86_64-linux-gnu/cudnn_graph.h))
CUDNN_SO   := $(firstword $(wildcard $(foreach d,lib64 lib lib/x86_64-linux-gnu,$(CUDNN_HOME)/$d/libcudnn.so.9) /usr/lib/x86_64-linux-gnu/libcudnn.so.9))
HAVE_CUDA  := $(if $(SAN),,$(and $(NVCC),$(CUDNN_H),$(CUDNN_SO),yes))
CUDA_INC   := -isystem $(CUDA_HOME)/include $(addprefix -isystem ,$(dir $(CUDNN_H)))
TESTS      := $(if $(HAVE_CUDA),$(TESTS),$(filter-out $(patsubst %.c,$(B)/%,$(CUDA_TESTS)),$(TESTS)))
CUDA_PLUGIN := $(if $(HAVE_CUDA),$(B)/plugins/forward_cuda.so)
CUDA_LOWER := lower place weights net layer nets_densenet nets_resnet nets_squeezenet nets_tilenet nets_vgg
CUDA_PIC   := $(patsubst %.c,$(B)/pic/%.o,$(wildcard stages/forward/cuda/*.c) $(patsubst %,stages/forward/%.c,$(CUDA_LOWER)) proto/status.c proto/crc32c.c runtime/text.c)

.PHONY: all deps deps-check demo check check-long chaos bench fuzz fuzz-guided lint install docs help clean samples
all: $(B)/bin/flowrun $(B)/flowrun-hdf5 $(B)/libflowrun.so $(STAGES:%=$(B)/stages/%) $(CUDA_PLUGIN) $(B)/tools/forward

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

deps:  ## install what the build needs (Debian packages)
	@sh launch/deps.sh "$(PKGS)" "$(DEBS)"

deps-check: deps
	@sh launch/deps.sh --check "$(DEBS_CHECK)"

$(B)/o/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) -MMD -MP -c $< -o $@

$(B)/libproto.a: $(PROTO)
	@rm -f $@; ar rcs $@ $^
$(B)/libruntime.a: $(RUNTIME)
	@rm -f $@; ar rcs $@ $^
$(B)/libstages.a: $(STAGE_O)
	@rm -f $@; ar rcs $@ $^
$(B)/libtest.a: $(TESTLIB)
	@rm -f $@; ar rcs $@ $^

$(STAGES:%=$(B)/stages/%): $(B)/stages/%: runtime/stage_main.c $(B)/libstages.a $(B)/libruntime.a $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) -MMD -MP -MF $@.d -DFL_STAGE=fl_stage_$* $< $(B)/libstages.a $(B)/libruntime.a $(B)/libproto.a $(LDFLAGS) $(LIBS_STAGES) $(LIBS_RUNTIME) -o $@

$(B)/bin/flowrun: $(LAUNCH) $(B)/libruntime.a $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(LAUNCH) $(B)/libruntime.a $(B)/libproto.a $(LDFLAGS) $(LIBS_LAUNCH) -o $@

# The one program that knows libhdf5, which crashes on some files: read and written in a process of its own.
HDF5_O := $(call obj,$(call src,runtime/hdf5))
$(HDF5_O): FLAGS += $(shell pkg-config --cflags hdf5)
$(B)/flowrun-hdf5: $(HDF5_O)
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(LDFLAGS) $(shell pkg-config --libs hdf5) -o $@

$(B)/pic/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) $(CUDA_INC) -fPIC -fvisibility=hidden -MMD -MP -c $< -o $@
$(B)/pic/stages/forward/cuda/kernels.o: stages/forward/cuda/kernels.cu stages/forward/cuda/kernels.h stages/forward/cuda/launch.h stages/forward/cuda/layer.h stages/forward/backend.h
	@mkdir -p $(@D)
	$(Q)$(NVCC) -std=c++17 -I. -O3 -fmad=false -Werror all-warnings -gencode arch=compute_80,code=sm_80 -gencode 'arch=compute_90,code=[sm_90,compute_90]' \
	  -Xcompiler -fPIC,-fvisibility=hidden,-fno-threadsafe-statics,-Wall,-Wextra,-Werror -c $< -o $@
# libcuda is not linked: a host without a driver loads the plugin and hears why it can't be used.
CUDA_LINK = -L$(dir $(CUDNN_SO)) -l:libcudnn.so.9 $(firstword $(wildcard $(foreach d,lib64 lib,$(CUDA_HOME)/$d/libcudart_static.a))) -ldl -lrt -lpthread -lm
$(B)/plugins/forward_cuda.so: $(CUDA_PIC) $(B)/pic/stages/forward/cuda/kernels.o
	@mkdir -p $(@D)
	$(Q)$(CC) -shared -Wl,-z,defs -Wl,--exclude-libs,ALL $^ -Wl,-rpath,$(dir $(CUDNN_SO)) $(LDFLAGS) $(CUDA_LINK) -o $@

# The loop of a stage for programs in other languages (runtime/bridge.h, python/flowrun/stages.py).
$(B)/libflowrun.so: $(patsubst $(B)/o/%,$(B)/pic/%,$(RUNTIME) $(PROTO))
	@mkdir -p $(@D)
	$(Q)$(CC) -shared $(if $(SAN),,-Wl$(comma)-z$(comma)defs) $^ $(LDFLAGS) $(LIBS_RUNTIME) -o $@

# Commands of flowrun that need a stage's innards.
$(B)/tools/forward: $(call obj,$(call src,tools/forward)) $(B)/libstages.a $(B)/libruntime.a $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(LDFLAGS) $(LIBS_STAGES) $(LIBS_RUNTIME) -o $@

# The cuda executor's list in plain loops behind the same table, in the place of the real object: for tests of the stage.
$(B)/tests/plugins/forward_cuda.so: $(patsubst %.c,$(B)/pic/%.o,tests/forward/twin_plugin.c tests/lib/cuda_twin.c $(CUDA_PLAIN) $(patsubst %,stages/forward/%.c,$(CUDA_LOWER)) proto/status.c proto/crc32c.c runtime/text.c)
	@mkdir -p $(@D)
	$(Q)$(CC) -shared -Wl,-z,defs $^ $(LDFLAGS) -lm -o $@

# Programs that need cuDNN: plans for a described card; checks and speed on a real one.
GPU_PROGRAMS := $(if $(HAVE_CUDA),$(patsubst %,$(B)/gpu/%,graphs check speed))
$(B)/pic/bench/gpu/%.o: bench/gpu/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) $(CUDA_INC) -MMD -MP -c $< -o $@
$(B)/gpu/%: $(B)/pic/bench/gpu/%.o $(B)/o/tests/lib/cuda_twin.o $(CUDA_PIC) $(B)/pic/stages/forward/cuda/kernels.o $(B)/libstages.a $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(LDFLAGS) -Wl,-rpath,$(dir $(CUDNN_SO)) $(CUDA_LINK) -o $@

.PHONY: check-gpu-graphs check-gpu bench-gpu gpu-bundle
check-gpu-graphs: $(GPU_PROGRAMS)  ## cuDNN plans every layer for a described H100; needs no card
	@bash tests/forward/test_gpu_graphs.sh $(B)
check-gpu: $(GPU_PROGRAMS)  ## the cuda executor on a card against plain loops and golden logits
	@bash bench/gpu/check-gpu.sh $(B)
bench-gpu: $(GPU_PROGRAMS)  ## its speed, and PyTorch's beside it
	@bash bench/gpu/bench-gpu.sh $(B)
gpu-bundle: all $(GPU_PROGRAMS)  ## what check-gpu and bench-gpu need, as build/gpu-bundle.tar.gz, for a host with a card and no compiler
	@bash bench/gpu/bundle.sh $(B)

# The project's own tiles: painted at build time, the same bytes everywhere.
$(B)/samples/paint: $(call obj,$(call src,samples)) $(B)/libruntime.a $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(LDFLAGS) -ljpeg -ltiff $(LIBS_RUNTIME) -o $@
build/samples/labels.csv: $(B)/samples/paint
	$(Q)$(B)/samples/paint --out build/samples --n 300 --seed 1
samples: build/samples/labels.csv  ## paint the sample tiles

# The link line keeps the layers apart: tests of proto see proto alone.
$(B)/tests/proto/test_%: $(B)/o/tests/proto/test_%.o $(B)/o/tests/lib/check.o $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(LDFLAGS) $(LIBS_PROTO) -lm -o $@
$(B)/tests/runtime/test_%: $(B)/o/tests/runtime/test_%.o $(B)/libtest.a $(B)/libruntime.a $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(LDFLAGS) $(LIBS_RUNTIME) -o $@
$(B)/tests/launch/test_%: $(B)/o/tests/launch/test_%.o $(B)/libtest.a $(filter-out $(B)/o/launch/main.o,$(LAUNCH)) $(B)/libruntime.a $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(LDFLAGS) $(LIBS_LAUNCH) -o $@
$(B)/tests/samples/test_%: $(B)/o/tests/samples/test_%.o $(filter-out $(B)/o/samples/paint.o,$(call obj,$(call src,samples))) $(B)/o/tests/lib/check.o $(B)/libruntime.a $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(LDFLAGS) -ljpeg -ltiff $(LIBS_RUNTIME) -o $@
$(B)/tests/fuzz/fuzz_yaml $(B)/tests/fuzz/fuzz_describe: $(B)/tests/fuzz/%: $(B)/o/tests/fuzz/%.o $(FUZZ_MAIN) $(filter-out $(B)/o/launch/main.o,$(LAUNCH)) $(B)/libruntime.a $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(LDFLAGS) $(FUZZ_LINK) $(LIBS_LAUNCH) -o $@
$(B)/tests/fuzz/fuzz_%: $(B)/o/tests/fuzz/fuzz_%.o $(FUZZ_MAIN) $(B)/libtest.a $(B)/libstages.a $(B)/libruntime.a $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(LDFLAGS) $(FUZZ_LINK) $(LIBS_STAGES) $(LIBS_RUNTIME) -o $@
# The executor's own choice, with a card that the test makes up.
$(B)/tests/forward/test_cuda_choose: $(B)/pic/tests/forward/test_cuda_choose.o $(B)/pic/stages/forward/cuda/choose.o $(B)/libtest.a $(B)/libstages.a $(B)/libruntime.a $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(LDFLAGS) $(LIBS_STAGES) $(LIBS_RUNTIME) -o $@
$(B)/tests/%: $(B)/o/tests/%.o $(B)/libtest.a $(B)/libstages.a $(B)/libruntime.a $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(LDFLAGS) $(LIBS_STAGES) $(LIBS_RUNTIME) -o $@

.PRECIOUS: $(B)/o/%.o

check: deps-check  ## build, test; needs no GPU
	@$(MAKE) --no-print-directory -j2 all tests
	@bash tests/run.sh $(B)

demo: deps  ## build, then run the default pipeline on the sample tiles
	@$(MAKE) --no-print-directory -j2 all samples
	$(B)/bin/flowrun pipeline.yaml

# Paths in a graph are relative to this folder, whatever the build's is.
build/chaos/labels.csv: $(B)/samples/paint
	$(Q)$(B)/samples/paint --out build/chaos --n 2000 --seed 2
chaos:  ## kill, stop and cut off stages over 2,000 tiles, flowrun too: the files must stay the same (SEED=1)
	@$(MAKE) --no-print-directory -j2 all build/chaos/labels.csv
	$(B)/bin/flowrun chaos tests/long/chaos.yaml --kills 200 --supervisor-kills 5 --seed $(or $(SEED),1)

# Stages that only tests use: found through stage_path.
TEST_STAGES := tripwire nap tripsink tripsource
$(TEST_STAGES:%=$(B)/tests/flow/stages/%): $(B)/tests/flow/stages/%: runtime/stage_main.c $(B)/o/tests/flow/stages/%.o $(B)/libstages.a $(B)/libruntime.a $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) -DFL_STAGE=fl_stage_$* $^ $(LDFLAGS) $(LIBS_STAGES) $(LIBS_RUNTIME) -o $@

.PHONY: tests
tests: samples $(B)/flowrun-hdf5 $(TESTS) $(FUZZ) $(TEST_STAGES:%=$(B)/tests/flow/stages/%) $(GPU_PROGRAMS) $(B)/tests/plugins/forward_cuda.so

# What is measured lies in bench/; its stages are in no build but this one.
BENCH_STAGES := bench_fill bench_touch bench_end bench_look
BENCH_O      := $(call obj,$(call src,bench/stages))
$(BENCH_STAGES:%=$(B)/bench/stages/%): $(B)/bench/stages/%: runtime/stage_main.c $(BENCH_O) $(B)/libruntime.a $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) -DFL_STAGE=fl_stage_$* $< $(BENCH_O) $(B)/libruntime.a $(B)/libproto.a $(LDFLAGS) $(LIBS_RUNTIME) -o $@
$(B)/bench/bench: $(call obj,$(patsubst %,bench/%.c,main cases death feed forward hosts second run graph tiles)) $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(LDFLAGS) -ltiff -lturbojpeg -ljansson -lm -o $@ -lm
$(B)/bench/floor $(B)/bench/chain: $(B)/bench/%: $(B)/o/bench/%.o
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(LDFLAGS) -ltiff -lturbojpeg -lzmq -o $@
$(B)/bench/level2 $(B)/bench/f2: $(B)/bench/%: $(B)/o/bench/%.o $(B)/libstages.a $(B)/libruntime.a $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(LDFLAGS) $(LIBS_STAGES) $(LIBS_RUNTIME) -o $@
# The floor may use all that this machine has.
$(B)/bench/floor_augment: bench/floor_augment.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) -march=native $< $(LDFLAGS) -lturbojpeg -lm -o $@
$(B)/bench/fused: $(B)/o/bench/fused.o $(BENCH_O) $(B)/libstages.a $(B)/libruntime.a $(B)/libproto.a
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(LDFLAGS) $(LIBS_STAGES) $(LIBS_RUNTIME) -o $@

bench:  ## ratios against plain loops and other ways, into build/bench.json (ONLY=decode/ RUNS=9 RIVALS=1)
	@$(MAKE) --no-print-directory -j2 all samples bench-programs
	@$(B)/bench/bench $(B) $(ONLY)
.PHONY: bench-programs
bench-programs: $(BENCH_STAGES:%=$(B)/bench/stages/%) $(B)/tests/flow/stages/nap $(patsubst %,$(B)/bench/%,bench floor floor_augment chain fused level2 f2)

fuzz:  ## a million mutations of each fuzz corpus under sanitizers
	@$(MAKE) --no-print-directory -j2 SAN=address,undefined fuzz-run
.PHONY: fuzz-run
fuzz-run: $(FUZZ)
	@for f in $(FUZZ); do echo $$f; $$f -n $(or $(ROUNDS),1000000) -k $(B)/crash-$$(basename $$f) || exit 1; done

fuzz-guided:  ## the same led by coverage, with clang's libFuzzer, FUZZ_SECONDS (60) a target
	@$(MAKE) --no-print-directory -j2 B=build-guided CC=clang SAN=fuzzer-no-link,address,undefined GUIDED=1 fuzz-guided-run
.PHONY: fuzz-guided-run
fuzz-guided-run: $(FUZZ) $(B)/flowrun-hdf5
	@for f in $(FUZZ); do n=$${f##*/fuzz_}; mkdir -p $(B)/corpus/$$n; \
	  $$f -max_total_time=$(or $(FUZZ_SECONDS),60) -timeout=20 -rss_limit_mb=4096 -artifact_prefix=$(B)/crash-$$n- $(B)/corpus/$$n tests/fuzz/corpus/$$n >$(B)/$$n.log 2>&1 \
	  || { tail -n 40 $(B)/$$n.log; exit 1; }; echo "$$n: $$(grep '^Done' $(B)/$$n.log)"; done

lint:  ## clang-tidy over all sources; any warning fails
	@clang-tidy --version >/dev/null || { echo 'lint: apt-get install clang-tidy' >&2; exit 1; }
	@printf '%s\n' $(filter-out $(if $(HAVE_CUDA),,bench/gpu/% stages/forward/cuda/% $(CUDA_TESTS)),$(foreach d,proto runtime runtime/hdf5 launch stages stages/* stages/forward/cuda samples tools/* bench bench/* docs/template tests/*,$(wildcard $d/*.c))) | \
	  xargs -P2 -n1 sh -c 'said=$$(clang-tidy --quiet "$$1" -- -std=c11 -D_GNU_SOURCE -I. $(shell pkg-config --cflags hdf5) $(if $(HAVE_CUDA),$(CUDA_INC)) -DFL_VERSION="\"$(VERSION)\"" -DFL_STAGE=fl_stage_sink 2>&1) || { printf "%s\n" "$$said"; exit 1; }' lint

docs: all  ## write docs/pipeline.md and docs/stages.md from what the program says of itself
	@/usr/bin/python3 -B docs/generate.py $(B) docs

install: all  ## into PREFIX (default /usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/flowrun/stages $(DESTDIR)$(PREFIX)/libexec/flowrun/tools $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install $(B)/bin/flowrun $(DESTDIR)$(PREFIX)/bin/flowrun
	install $(B)/flowrun-hdf5 $(B)/libflowrun.so $(DESTDIR)$(PREFIX)/libexec/flowrun
	install $(STAGES:%=$(B)/stages/%) $(DESTDIR)$(PREFIX)/libexec/flowrun/stages
	$(if $(CUDA_PLUGIN),install -d $(DESTDIR)$(PREFIX)/libexec/flowrun/plugins && install $(CUDA_PLUGIN) $(DESTDIR)$(PREFIX)/libexec/flowrun/plugins)

	install $(B)/tools/forward $(DESTDIR)$(PREFIX)/libexec/flowrun/tools
	$(B)/bin/flowrun completion > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/flowrun

check-long: deps-check  ## the rest: everything under sanitizers, long kills, soak, valgrind, an hour of fuzzing a target (LONG_FUZZ seconds)
	@$(MAKE) --no-print-directory -j2 all tests
	@bash tests/long.sh $(B)

clean:  ## remove what was built
	rm -rf build build-*

-include $(shell find $(B) -name '*.d' 2>/dev/null)
