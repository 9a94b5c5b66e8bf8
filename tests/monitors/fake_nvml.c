/* A stand-in for libnvidia-ml.so.1: the calls the sidecar makes, with values that tell GPUs apart.
 *
 * FAKE_NVML_GPUS         number of GPUs (2)
 * FAKE_NVML_INIT_ERROR   nvmlInit returns this code
 * FAKE_NVML_UNSUPPORTED  comma-separated names of calls, and of fields as "field82", that
 *                        return NVML_ERROR_NOT_SUPPORTED
 * FAKE_NVML_CODES        comma-separated NAME=CODE (names as above): these return that error
 * FAKE_NVML_BLOCK        name of a call that never returns ...
 * FAKE_NVML_BLOCK_AFTER  ... once it has been made this many times (0)
 * FAKE_NVML_BLOCK_MS     ... or that takes this long, just that once
 * FAKE_NVML_LOST         index of a GPU that falls off the bus (0 times: is lost from the start) ...
 * FAKE_NVML_LOST_AFTER   ... once its power was asked this many times (0)
 * FAKE_NVML_LOG          file to which the name of every call is appended
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, LOST = 15, MIB = 1048576, MAX_GPUS = 64 };

typedef struct { int index; int power_calls; } Gpu;
static Gpu gpus[MAX_GPUS];

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

static int listed(const char *variable, const char *name) {
    const char *at = getenv(variable);
    size_t length = strlen(name);
    for (; at && *at; at += strcspn(at, ","), at += *at == ',')
        if (strcspn(at, ",") == length && !strncmp(at, name, length)) return 1;
    return 0;
}

static int code_of(const char *name) {
    const char *at = getenv("FAKE_NVML_CODES");
    size_t length = strlen(name);
    for (; at && *at; at += strcspn(at, ","), at += *at == ',')
        if (!strncmp(at, name, length) && at[length] == '=') return atoi(at + length + 1);
    return OK;
}

static int lost(const Gpu *gpu) {
    return gpu && gpu->index == number("FAKE_NVML_LOST", -1) &&
           gpu->power_calls >= number("FAKE_NVML_LOST_AFTER", 0);
}

/* A call that never returns may hold a lock that the library wants on the way out. */
static volatile int stuck = 0;
__attribute__((destructor)) static void leave(void) {
    while (stuck) pause();
}

/* What every call does first: log, block, refuse. */
static int enter(const char *name, const Gpu *gpu) {
    static int calls_of_blocked = 0;
    const char *log = getenv("FAKE_NVML_LOG");
    if (log) {
        char line[128];
        int length = snprintf(line, sizeof line, "%s %d\n", name, gpu ? gpu->index : -1);
        int fd = open(log, O_WRONLY | O_APPEND | O_CREAT, 0644);
        if (write(fd, line, (size_t)length) < 0) abort();
        close(fd);
    }
    if (listed("FAKE_NVML_BLOCK", name)) {
        int over = calls_of_blocked++ - number("FAKE_NVML_BLOCK_AFTER", 0);
        int once = number("FAKE_NVML_BLOCK_MS", 0);
        if (once && !over) usleep((unsigned)once * 1000);
        while (!once && over >= 0) { stuck = 1; pause(); }
    }
    if (lost(gpu)) return LOST;
    return listed("FAKE_NVML_UNSUPPORTED", name) ? NOT_SUPPORTED : code_of(name);
}

#define ENTER(gpu) do { int code = enter(__func__, gpu); if (code) return code; } while (0)

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    ENTER(NULL);
    return number("FAKE_NVML_INIT_ERROR", OK);
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return OK; }

const char *nvmlErrorString(int code) {
    return code == LOST ? "GPU is lost" : code == NOT_SUPPORTED ? "Not Supported" : "error";
}
int nvmlDeviceGetCount_v2(unsigned *count) {
    ENTER(NULL);
    *count = (unsigned)number("FAKE_NVML_GPUS", 2);
    return OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Gpu **gpu) {
    if (index >= MAX_GPUS) return INVALID;
    gpus[index].index = (int)index;
    ENTER(&gpus[index]);
    *gpu = &gpus[index];
    return OK;
}
int nvmlDeviceGetName(Gpu *gpu, char *text, unsigned size) {
    ENTER(gpu);
    snprintf(text, size, "Fake A100 80GB");
    return OK;
}
int nvmlDeviceGetUUID(Gpu *gpu, char *text, unsigned size) {
    ENTER(gpu);
    snprintf(text, size, "GPU-00000000-0000-0000-0000-%012d", gpu->index);
    return OK;
}
typedef struct {
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char bus_id[32];
} Pci;
int nvmlDeviceGetPciInfo_v3(Gpu *gpu, Pci *pci) {
    ENTER(gpu);
    memset(pci, 0, sizeof *pci);
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", 16 + gpu->index);
    return OK;
}
int nvmlDeviceGetEnforcedPowerLimit(Gpu *gpu, unsigned *milliwatt) {
    ENTER(gpu);
    *milliwatt = 400000;
    return OK;
}
int nvmlDeviceGetPowerUsage(Gpu *gpu, unsigned *milliwatt) {
    ENTER(gpu);
    gpu->power_calls++;
    *milliwatt = 100400 + 10000 * (unsigned)gpu->index;
    return OK;
}
int nvmlDeviceGetTemperature(Gpu *gpu, int sensor, unsigned *celsius) {
    ENTER(gpu);
    (void)sensor;
    *celsius = 40 + (unsigned)gpu->index;
    return OK;
}
int nvmlDeviceGetUtilizationRates(Gpu *gpu, unsigned rates[2]) {
    ENTER(gpu);
    rates[0] = 50 + (unsigned)gpu->index;
    rates[1] = 20 + (unsigned)gpu->index;
    return OK;
}
#define ENGINE(name, value)                                     \
    int name(Gpu *gpu, unsigned *percent, unsigned *period) {   \
        ENTER(gpu);                                             \
        *percent = value, *period = 20000;                      \
        return OK;                                              \
    }
ENGINE(nvmlDeviceGetEncoderUtilization, 1)
ENGINE(nvmlDeviceGetDecoderUtilization, 2)
ENGINE(nvmlDeviceGetJpgUtilization, 3)
ENGINE(nvmlDeviceGetOfaUtilization, 4)

int nvmlDeviceGetClockInfo(Gpu *gpu, int kind, unsigned *mhz) {
    ENTER(gpu);
    *mhz = kind == 2 ? 1215 : 1410;
    return OK;
}
#define REASONS(name)                                    \
    int name(Gpu *gpu, unsigned long long *reasons) {    \
        ENTER(gpu);                                      \
        *reasons = 4;                                    \
        return OK;                                       \
    }
REASONS(nvmlDeviceGetCurrentClocksEventReasons)
REASONS(nvmlDeviceGetCurrentClocksThrottleReasons)

typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory2;
int nvmlDeviceGetMemoryInfo_v2(Gpu *gpu, Memory2 *memory) {
    ENTER(gpu);
    if (memory->version != (sizeof *memory | 2u << 24)) return 25; /* version mismatch */
    memory->total = 81920ull * MIB;
    memory->reserved = 600ull * MIB;
    memory->used = (10240ull + 1024ull * (unsigned)gpu->index) * MIB;
    memory->free = memory->total - memory->used - memory->reserved;
    return OK;
}
/* Version 1 counts what the driver keeps for itself as used. */
int nvmlDeviceGetMemoryInfo(Gpu *gpu, unsigned long long memory[3]) {
    ENTER(gpu);
    memory[0] = 81920ull * MIB;
    memory[2] = (10840ull + 1024ull * (unsigned)gpu->index) * MIB;
    memory[1] = memory[0] - memory[2];
    return OK;
}
/* Energy and traffic grow with time: 100 W, and 5 MB/s in and 7 MB/s out. */
static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}
int nvmlDeviceGetTotalEnergyConsumption(Gpu *gpu, unsigned long long *millijoule) {
    ENTER(gpu);
    *millijoule = (unsigned long long)(seconds() * 100e3);
    return OK;
}
int nvmlDeviceGetPcieThroughput(Gpu *gpu, int counter, unsigned *kilobyte) {
    ENTER(gpu);
    *kilobyte = counter == 1 ? 3000 : 2000; /* 1 is what the GPU receives */
    return OK;
}
typedef struct {
    uint32_t field, scope;
    int64_t timestamp, latency;
    int type, code;
    union { double d; unsigned u; unsigned long long ull; } value;
} Field;
int nvmlDeviceGetFieldValues(Gpu *gpu, int count, Field *fields) {
    ENTER(gpu);
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "field%u", fields[i].field);
        fields[i].code = enter(name, gpu);
        fields[i].type = fields[i].field == 82 ? 1 : 3; /* unsigned int; unsigned long long */
        if (fields[i].field == 82) fields[i].value.u = 60 + (unsigned)gpu->index;
        else if (fields[i].field == 197) fields[i].value.ull = (unsigned long long)(seconds() * 7e6);
        else if (fields[i].field == 198) fields[i].value.ull = (unsigned long long)(seconds() * 5e6);
        else fields[i].code = INVALID;
    }
    return OK;
}
