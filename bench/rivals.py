"""The rivals of the forward bench: torchvision's networks as ONNX files, and how fast ONNX Runtime and OpenVINO run them.

rivals.py export DIR SIZE ARCH...                     DIR/ARCH-SIZE.onnx, 17 labels, any batch; wants torch and torchvision
rivals.py run ENGINE FILE BATCH THREADS STREAMS SECONDS [SIZE]
                                                      prints images a second; ENGINE: onnxruntime or openvino
rivals.py cpu ENGINE FILE BATCH SECONDS [SIZE]        prints images a second of processor time in the best run of one thread
"""
import sys
import threading
import time


def export(folder, size, archs):
    import os

    import torch
    import torchvision

    for arch in archs:
        path = os.path.join(folder, "%s-%d.onnx" % (arch, size))
        if os.path.exists(path):
            continue
        torch.manual_seed(1)
        model = getattr(torchvision.models, arch)(num_classes=17).eval()
        x = torch.randn(1, 3, size, size)
        torch.onnx.export(model, x, path + ".new", opset_version=13, input_names=["x"], output_names=["y"],
                          dynamic_axes={"x": {0: "n"}, "y": {0: "n"}})
        os.rename(path + ".new", path)


def onnxruntime(path, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})


def openvino(path, threads):
    import openvino as ov

    core = ov.Core()
    model = core.read_model(path)
    compiled = {}

    def run(x):
        if x.shape not in compiled:      # a fixed shape is what OpenVINO is fastest with
            model.reshape(list(x.shape))
            compiled[x.shape] = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}).create_infer_request()
        return compiled[x.shape].infer({0: x})

    return run


def measure(engine, path, batch, threads, streams, seconds, size):
    import numpy as np

    x = np.random.default_rng(1).standard_normal((batch, 3, size, size), np.float32)
    gate, rates = threading.Barrier(streams), [0.0] * streams

    def stream(i):
        run = {"onnxruntime": onnxruntime, "openvino": openvino}[engine](path, threads)
        run(x)
        run(x)
        gate.wait()
        start, n = time.perf_counter(), 0
        while n < 2 or time.perf_counter() - start < seconds:
            run(x)
            n += 1
        rates[i] = n * batch / (time.perf_counter() - start)

    all_of = [threading.Thread(target=stream, args=(i,)) for i in range(streams)]
    for t in all_of:
        t.start()
    for t in all_of:
        t.join()
    print("%.4f" % sum(rates))


def alone(engine, path, batch, seconds, size):
    """Other work on the machine disturbs this figure least; both engines run in the thread that calls them when told to use one."""
    import numpy as np

    x = np.random.default_rng(1).standard_normal((batch, 3, size, size), np.float32)
    run = {"onnxruntime": onnxruntime, "openvino": openvino}[engine](path, 1)
    run(x)
    start, best, n = time.perf_counter(), float("inf"), 0
    while n < 2 or time.perf_counter() - start < seconds:
        before = time.process_time()
        run(x)
        best, n = min(best, time.process_time() - before), n + 1
    print("%.4f" % (batch / best))


def main(argv):
    if argv[:1] == ["export"] and len(argv) > 3:
        export(argv[1], int(argv[2]), argv[3:])
    elif argv[:1] == ["cpu"] and len(argv) in (5, 6):
        alone(argv[1], argv[2], int(argv[3]), float(argv[4]), int(argv[5]) if len(argv) > 5 else 224)
    elif argv[:1] == ["run"] and len(argv) in (7, 8):
        measure(argv[1], argv[2], *(int(v) for v in argv[3:6]), float(argv[6]), int(argv[7]) if len(argv) > 7 else 224)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
