/* A stand-in for libnvidia-ml.so.1: the calls the sidecar makes, with values that tell GPUs apart.
 *
 * FAKE_NVML_GPUS         number of GPUs (2)
 * FAKE_NVML_INIT_ERROR   nvmlInit returns this code
 * FAKE_NVML_UNSUPPORTED  comma-separated names of calls, and of fields as "field82", that
 *                        return NVML_ERROR_NOT_SUPPORTED
 * FAKE_NVML_CODES        comma-separated NAME=CODE (names as above): these return that error;
 *                        NAME=CODE@N: only once they were called N times
 * FAKE_NVML_BLOCK        name of a call that never returns ...
 * FAKE_NVML_BLOCK_AFTER  ... once it has been made this many times (0)
 * FAKE_NVML_BLOCK_MS     ... or that takes this long, just that once
 * FAKE_NVML_LOST         index of a GPU that falls off the bus (0 times: is lost from the start) ...
 * FAKE_NVML_LOST_AFTER   ... once its power was asked this many times (0)
 * FAKE_NVML_XIDS         comma-separated MS:GPU:NUMBER: errors so long after the library was loaded
 * FAKE_NVML_COPIES       1: the handles of GPUs in errors are not those handed out before
 * FAKE_NVML_ECC          GPU:N:COUNT: so many uncorrected errors once they were asked for N times
 * FAKE_NVML_REMAP        "pending" or "failed": how the rows of GPU 0 stand
 * FAKE_NVML_PIDS         comma-separated GPU:PID:MIB (MIB -1: not told): who computes where
 * FAKE_NVML_MIG          parts that every GPU is divided into (0)
 * FAKE_NVML_LOG          file to which the name of every call is appended
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, TIMEOUT = 10 };
enum { LOST = 15, MIB = 1048576, MAX_GPUS = 64, MAX_PARTS = 7 };

typedef struct { int index; int power_calls; int ecc_calls; int part; } Gpu;
static Gpu gpus[MAX_GPUS], parts[MAX_GPUS][MAX_PARTS];

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
    static int calls[64];
    const char *at = getenv("FAKE_NVML_CODES");
    size_t length = strlen(name);
    for (int n = 0; at && *at; at += strcspn(at, ","), at += *at == ',', n++)
        if (!strncmp(at, name, length) && at[length] == '=') {
            const char *after = at + length + 1 + strcspn(at + length + 1, "@,");
            if (*after == '@' && calls[n]++ < atoi(after + 1)) return OK;
            return atoi(at + length + 1);
        }
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
    if (gpu && number("FAKE_NVML_MIG", 0)) {
        /* Parts tell little; of a divided GPU nobody knows the use. */
        int told = strstr(name, "UUID") || strstr(name, "Name") || strstr(name, "Memory") ||
                   strstr(name, "GpuInstance") || strstr(name, "Processes");
        if (gpu->part ? !told : !!strstr(name, "Utilization")) return NOT_SUPPORTED;
    }
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
    const char *kind = gpu->part ? "MIG" : "GPU";
    snprintf(text, size, "%s-00000000-0000-0000-%04d-%012d", kind, gpu->part, gpu->index);
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
        int all_links = fields[i].scope == 0xffffffff;
        if (fields[i].field == 82) fields[i].value.u = 60 + (unsigned)gpu->index;
        else if (fields[i].field == 197) fields[i].value.ull = (unsigned long long)(seconds() * 7e6);
        else if (fields[i].field == 198) fields[i].value.ull = (unsigned long long)(seconds() * 5e6);
        else if (fields[i].field == 138 && all_links) /* KiB: 300 and 200 GB/s */
            fields[i].value.ull = (unsigned long long)(seconds() * 300e9 / 1024);
        else if (fields[i].field == 139 && all_links)
            fields[i].value.ull = (unsigned long long)(seconds() * 200e9 / 1024);
        else fields[i].code = INVALID;
    }
    return OK;
}

/* Errors: of the memory, and such as the driver reports. */
int nvmlDeviceGetTotalEccErrors(Gpu *gpu, int kind, int since, unsigned long long *count) {
    ENTER(gpu);
    int who = -1, after = 0, more = 0;
    sscanf(getenv("FAKE_NVML_ECC") ? getenv("FAKE_NVML_ECC") : "", "%d:%d:%d", &who, &after, &more);
    int came = who == gpu->index && kind == 1 && gpu->ecc_calls >= after;
    if (kind == 1 && since == 0) gpu->ecc_calls++;
    *count = (unsigned long long)((kind ? 1 : 3) + (since ? 10 : 0) + (came ? more : 0));
    return OK;
}
int nvmlDeviceGetRemappedRows(Gpu *gpu, unsigned *fixed, unsigned *dead, unsigned *pending,
                              unsigned *failed) {
    ENTER(gpu);
    const char *how = getenv("FAKE_NVML_REMAP");
    *fixed = 2, *dead = 1 + (unsigned)gpu->index;
    *pending = how && !gpu->index && !strcmp(how, "pending");
    *failed = how && !gpu->index && !strcmp(how, "failed");
    return OK;
}
static double loaded;
__attribute__((constructor)) static void load(void) { loaded = seconds(); }

typedef struct { int registered[MAX_GPUS]; int next; } Events;
typedef struct {
    Gpu *gpu;
    unsigned long long type, data;
    unsigned instance, compute;
} Event;
int nvmlEventSetCreate(Events **events) {
    ENTER(NULL);
    *events = calloc(1, sizeof **events);
    return OK;
}
int nvmlDeviceRegisterEvents(Gpu *gpu, unsigned long long types, Events *events) {
    ENTER(gpu);
    if (types != 8) return INVALID; /* Xid errors */
    events->registered[gpu->index] = 1;
    return OK;
}
int nvmlEventSetWait_v2(Events *events, Event *event, unsigned patience_ms) {
    ENTER(NULL);
    double end = seconds() + patience_ms / 1e3;
    const char *at = getenv("FAKE_NVML_XIDS");
    for (int n = 0; at && *at; at += strcspn(at, ","), at += *at == ',', n++) {
        int ms, index, xid;
        if (n < events->next || sscanf(at, "%d:%d:%d", &ms, &index, &xid) != 3) continue;
        double due = loaded + ms / 1e3;
        if (due > end) break;
        if (due > seconds()) usleep((unsigned)((due - seconds()) * 1e6));
        events->next = n + 1;
        if (!events->registered[index]) continue;
        static Gpu copy; /* a handle of the same GPU, but not the same handle */
        copy = gpus[index];
        Gpu *gpu = number("FAKE_NVML_COPIES", 0) ? &copy : &gpus[index];
        *event = (Event){gpu, 8, (unsigned long long)xid, ~0u, ~0u};
        return OK;
    }
    if (end > seconds()) usleep((unsigned)((end - seconds()) * 1e6));
    return TIMEOUT;
}

/* Activity: two samples, a tenth of a second apart at least, of the same GPU or part. */
typedef struct { double at; int index, part; } Look;
typedef struct {
    unsigned metric;
    int code;
    double value;
    char *texts[3];
} Metric;
typedef struct {
    unsigned version, count;
    Look *first, *second;
    Metric metrics[];
} Metrics;
int nvmlGpmQueryDeviceSupport(Gpu *gpu, unsigned support[2]) {
    ENTER(gpu);
    support[1] = !listed("FAKE_NVML_UNSUPPORTED", "gpm");
    return OK;
}
int nvmlGpmSampleAlloc(Look **look) {
    *look = calloc(1, sizeof **look);
    return OK;
}
static int take(const Gpu *gpu, int part, Look *look) {
    *look = (Look){seconds(), gpu->index, part};
    return OK;
}
int nvmlGpmSampleGet(Gpu *gpu, Look *look) {
    ENTER(gpu);
    return take(gpu, 0, look);
}
int nvmlGpmMigSampleGet(Gpu *gpu, unsigned instance, Look *look) {
    ENTER(gpu);
    return take(gpu, (int)instance, look);
}
int nvmlGpmMetricsGet(Metrics *metrics) {
    Look *a = metrics->first, *b = metrics->second;
    ENTER(&gpus[b->index]);
    if (metrics->version != 1 || a->index != b->index || a->part != b->part) return INVALID;
    if (b->at - a->at < 0.09) return INVALID;
    double more = b->index + 10 * b->part;
    for (unsigned i = 0; i < metrics->count; i++) {
        Metric *metric = &metrics->metrics[i];
        char name[32];
        snprintf(name, sizeof name, "metric%u", metric->metric);
        metric->code = enter(name, &gpus[b->index]);
        switch (metric->metric) {
            case 1: metric->value = 70.4 + more; break;
            case 2: metric->value = 60.4 + more; break;
            case 5: metric->value = 40.6 + more; break;
            case 10: metric->value = 30.0 + more; break;
            case 60: metric->value = 1000.0; break; /* MiB/s */
            case 61: metric->value = 2000.0; break;
            default: metric->code = INVALID;
        }
    }
    return OK;
}

/* Power, 20 ms apart: from 100 W up to 149 W, then again, ten more for each next GPU. */
typedef struct { unsigned long long at; union { unsigned u; double d; } value; } Sample;
int nvmlDeviceGetSamples(Gpu *gpu, int kind, unsigned long long seen, int *type, unsigned *count,
                         Sample *samples) {
    ENTER(gpu);
    if (kind != 0) return INVALID;
    unsigned long long newest = (unsigned long long)(seconds() * 50);
    unsigned room = samples ? *count : 120, found = 0;
    for (unsigned long long slot = newest - 118; slot <= newest && found < room; slot++) {
        if (slot * 20000 <= seen) continue;
        if (samples) {
            samples[found].at = slot * 20000;
            samples[found].value.u = (unsigned)(100 + slot % 50 + 10 * gpu->index) * 1000;
        }
        found++;
    }
    *type = 1, *count = found;
    return found ? OK : NOT_FOUND;
}

typedef struct { unsigned pid; unsigned long long used; unsigned instance, compute; } Process;
int nvmlDeviceGetComputeRunningProcesses_v3(Gpu *gpu, unsigned *count, Process *processes) {
    ENTER(gpu);
    unsigned found = 0, room = processes ? *count : 0;
    const char *at = getenv("FAKE_NVML_PIDS");
    for (; at && *at; at += strcspn(at, ","), at += *at == ',') {
        int index, pid, mib;
        if (sscanf(at, "%d:%d:%d", &index, &pid, &mib) != 3 || index != gpu->index) continue;
        if (found < room) {
            unsigned long long used = mib < 0 ? ~0ull : (unsigned long long)mib * MIB;
            processes[found] = (Process){(unsigned)pid, used, ~0u, ~0u};
        }
        found++;
    }
    *count = found;
    return found > room ? TOO_SMALL : OK;
}

/* Parts of a divided GPU: at every second number. */
int nvmlDeviceGetMigMode(Gpu *gpu, unsigned *now, unsigned *pending) {
    ENTER(gpu);
    *now = *pending = number("FAKE_NVML_MIG", 0) > 0;
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(Gpu *gpu, unsigned *count) {
    ENTER(gpu);
    *count = MAX_PARTS;
    return OK;
}
int nvmlDeviceGetMigDeviceHandleByIndex(Gpu *gpu, unsigned at, Gpu **part) {
    ENTER(gpu);
    if (at % 2 || (int)at / 2 >= number("FAKE_NVML_MIG", 0)) return NOT_FOUND;
    parts[gpu->index][at] = (Gpu){gpu->index, 0, 0, 1 + (int)at / 2};
    *part = &parts[gpu->index][at];
    return OK;
}
int nvmlDeviceGetGpuInstanceId(Gpu *part, unsigned *instance) {
    ENTER(part);
    *instance = (unsigned)part->part;
    return OK;
}
