/* The floor of a GPU's context: cuInit, and the primary context of device 0. Prints milliseconds of
 * each as JSON. cc -O2 -o context context.c -ldl; needs no CUDA to be built. */
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1e3 + at.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
    double start = now();
    void *library = dlopen(argc > 1 ? argv[1] : "libcuda.so.1", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    int (*init)(unsigned) = (int (*)(unsigned))dlsym(library, "cuInit");
    int (*get)(int *, int) = (int (*)(int *, int))dlsym(library, "cuDeviceGet");
    int (*retain)(void **, int) = (int (*)(void **, int))dlsym(library, "cuDevicePrimaryCtxRetain");
    double loaded = now();
    int device = 0, code = init(0);
    double initialised = now();
    void *context = 0;
    code = code ? code : get(&device, 0);
    code = code ? code : retain(&context, device);
    double made = now();
    if (code) {
        fprintf(stderr, "CUDA error %d\n", code);
        return 1;
    }
    printf("{\"load\": %.3f, \"init\": %.3f, \"context\": %.3f, \"all\": %.3f}\n", loaded - start,
           initialised - loaded, made - initialised, made - start);
    return 0;
}
