/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * run.c - slices and what is made of them.
 *
 * (R1) No clock is read inside a timed slice: each thread takes the time of all its operations at once. ns per
 *      operation is the sum of the threads' times over the sum of their operations, for the case and for the floor.
 * (R2) A pair is timed back to back, the floor first in every other one, and gives one ratio. Machine noise that lasts
 *      longer than a pair hits both sides; what is reported is the median of the pairs.
 * (R3) Percentiles come from slices of their own, with the clock read once per operation and its cost taken off.
 * (R4) What must not happen in a slice of the case (stalls, misses, background work) is counted and reported.
 */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define HOT_BYTES         65536u
#define CALIBRATE_NS      5000000u
#define CALIBRATE_OPS     16u
#define SAMPLES_PER_SLICE 65536u /* per thread */

struct run {
	struct bench_env *env;
	const struct bench_case *bench_case;
	struct bench_worker *workers;
	unsigned thread_count;
	uint64_t pair_bytes; /* log that the slices of a pair may write; 0: no limit */
	uint64_t slice_ops;  /* per thread */
	uint64_t sample_ops; /* per thread, at most SAMPLES_PER_SLICE */
	uint32_t *samples;   /* thread_count * BENCH_PAIRS * SAMPLES_PER_SLICE */
	uint64_t sample_count;
	uint64_t clock_ns;
};

struct job {
	struct bench_worker *worker;
	pthread_barrier_t *barrier;
	const char *name;
	bench_op op;
	uint32_t *samples; /* NULL: a timed slice */
	uint64_t ops;
	uint64_t clock_ns;
	uint64_t start_ns;
	uint64_t end_ns;
	uint64_t faults;
	int error;
};

struct slice {
	const char *name; /* of its threads, for profilers */
	bench_op op;
	uint64_t ops;      /* per thread */
	uint32_t *samples; /* `ops` for each thread, or NULL */
};

struct outcome {
	double ns; /* per operation */
	uint64_t faults;
};

static int run_timed(struct job *job)
{
	bench_op op = job->op;
	int ret = 0;

	job->start_ns = bench_now_ns();
	for (uint64_t left = job->ops; left > 0 && ret == 0; left--)
		ret = op(job->worker);
	job->end_ns = bench_now_ns();
	return ret;
}

static int run_sampled(struct job *job)
{
	uint64_t last = bench_now_ns();
	int ret = 0;

	for (uint64_t i = 0; i < job->ops && ret == 0; i++) {
		uint64_t now;
		uint64_t took;

		ret = job->op(job->worker);
		now = bench_now_ns();
		took = now - last > job->clock_ns ? now - last - job->clock_ns : 0;
		job->samples[i] = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
		last = now;
	}
	return ret;
}

static uint64_t page_faults(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) == 0 ? (uint64_t)usage.ru_minflt : 0;
}

static void *job_main(void *arg)
{
	struct job *job = arg;
	uint64_t faults;

	pthread_setname_np(pthread_self(), job->name);
	pthread_barrier_wait(job->barrier);
	faults = page_faults();
	job->error = job->samples != NULL ? run_sampled(job) : run_timed(job);
	job->faults = page_faults() - faults;
	return NULL;
}

/* One thread per processor, as far as they go; best effort. */
static void pin(pthread_attr_t *attr, unsigned number, unsigned thread_count)
{
	cpu_set_t allowed;
	cpu_set_t one;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0 || thread_count > (unsigned)CPU_COUNT(&allowed))
		return;
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || number-- > 0)
			continue;
		CPU_SET(cpu, &one);
		pthread_attr_setaffinity_np(attr, sizeof(one), &one);
		return;
	}
}

static int start_job(struct job *job, unsigned number, unsigned thread_count, pthread_t *ret_thread)
{
	pthread_attr_t attr;
	int ret = pthread_attr_init(&attr);

	if (ret != 0)
		return -ret;
	pin(&attr, number, thread_count);
	ret = pthread_create(ret_thread, &attr, job_main, job);
	pthread_attr_destroy(&attr);
	return -ret;
}

/*
 * Time of all threads. With more threads than processors some are let in late: their wait counts too, so all are timed
 * from the moment when the first one began.
 */
static uint64_t busy_ns(const struct job *jobs, unsigned count)
{
	uint64_t start_ns = jobs[0].start_ns;
	uint64_t sum_ns = 0;

	for (unsigned i = 1; i < count; i++)
		if (jobs[i].start_ns < start_ns)
			start_ns = jobs[i].start_ns;
	for (unsigned i = 0; i < count; i++)
		sum_ns += jobs[i].end_ns - start_ns;
	return sum_ns;
}

/* A thread that cannot be started leaves the others at the barrier, so that is fatal. */
static int run_slice(struct run *run, const struct slice *slice, struct outcome *ret_outcome)
{
	struct job jobs[BENCH_THREADS_MAX];
	pthread_t threads[BENCH_THREADS_MAX];
	pthread_barrier_t barrier;
	struct outcome outcome = { 0 };
	int ret = 0;

	pthread_barrier_init(&barrier, NULL, run->thread_count);
	for (unsigned i = 0; i < run->thread_count; i++) {
		jobs[i] = (struct job){ .worker = &run->workers[i], .barrier = &barrier, .name = slice->name,
					.op = slice->op, .ops = slice->ops, .clock_ns = run->clock_ns };
		if (slice->samples != NULL)
			jobs[i].samples = slice->samples + i * slice->ops;
		if (start_job(&jobs[i], i, run->thread_count, &threads[i]) < 0) {
			bench_fail(-EAGAIN, "cannot start a thread");
			exit(1);
		}
	}
	for (unsigned i = 0; i < run->thread_count; i++) {
		pthread_join(threads[i], NULL);
		outcome.faults += jobs[i].faults;
		if (jobs[i].error < 0)
			ret = jobs[i].error;
	}
	pthread_barrier_destroy(&barrier);
	if (ret < 0)
		return bench_fail(ret, "%s: %s", run->bench_case->name, pcache_strerror(ret));
	outcome.ns = (double)busy_ns(jobs, run->thread_count) / (double)(slice->ops * run->thread_count);
	*ret_outcome = outcome;
	return 0;
}

/* A slice of the case, with its side effects counted (R4). */
static int run_case_slice(struct run *run, const struct slice *slice, struct bench_result *result,
			  struct outcome *ret_outcome)
{
	struct pcache_stats before;
	struct pcache_stats after;
	int ret = bench_env_stats(run->env, &before);

	if (ret == 0)
		ret = run_slice(run, slice, ret_outcome);
	if (ret == 0)
		ret = bench_env_stats(run->env, &after);
	if (ret < 0)
		return ret;
	result->stalls += after.stalls - before.stalls;
	result->miss_bytes += after.read_miss_bytes - before.read_miss_bytes;
	result->background += after.segments_reclaimed - before.segments_reclaimed;
	result->background += after.writeback_batches - before.writeback_batches;
	result->faults += ret_outcome->faults;
	return 0;
}

/* Most operations per thread that half of a pair's log has room for. */
static uint64_t slice_ops_max(const struct run *run)
{
	if (run->pair_bytes == 0)
		return UINT64_MAX;
	return run->pair_bytes / 2 / run->bench_case->block_bytes / run->thread_count;
}

/* Find how many operations fill a slice, from slices that grow until they can be timed. */
static int calibrate(struct run *run)
{
	double slice_ns = run->env->options.seconds * 1e9 / (3 * BENCH_PAIRS);
	struct slice slice = { .name = "calibrate", .op = run->bench_case->op, .ops = CALIBRATE_OPS };
	uint64_t left = slice_ops_max(run);
	struct outcome outcome = { 0 };

	while (slice.ops <= left) {
		int ret = run_slice(run, &slice, &outcome);

		if (ret < 0)
			return ret;
		left -= slice.ops;
		if (outcome.ns * (double)slice.ops >= CALIBRATE_NS)
			break;
		slice.ops *= 4;
	}
	if (outcome.ns <= 0)
		return bench_fail(-EINVAL, "the cache is too small for %u threads", run->thread_count);
	run->slice_ops = slice_ns / outcome.ns > 1 ? (uint64_t)(slice_ns / outcome.ns) : 1;
	if (run->slice_ops > slice_ops_max(run))
		run->slice_ops = slice_ops_max(run);
	run->sample_ops = run->slice_ops < SAMPLES_PER_SLICE ? run->slice_ops : SAMPLES_PER_SLICE;
	return 0;
}

static int prepare(struct run *run)
{
	return run->bench_case->prepare(run->env, run->bench_case, run->pair_bytes);
}

static int run_pair(struct run *run, unsigned number, struct bench_result *result, struct outcome *ret_case,
		    struct outcome *ret_floor)
{
	const struct bench_case *bench_case = run->bench_case;
	struct slice timed = { .name = "case", .op = bench_case->op, .ops = run->slice_ops };
	struct slice floor = { .name = "floor", .op = bench_floor_op(&run->env->floor, bench_case->floor),
			       .ops = run->slice_ops };
	struct slice sampled = { .name = "sampled", .op = bench_case->op, .ops = run->sample_ops,
				 .samples = run->samples + run->sample_count };
	struct outcome unused;
	int ret = 0;

	if (run->bench_case->writes)
		ret = prepare(run);
	if (ret == 0 && number % 2 == 0)
		ret = run_slice(run, &floor, ret_floor);
	if (ret == 0)
		ret = run_case_slice(run, &timed, result, ret_case);
	if (ret == 0 && number % 2 != 0)
		ret = run_slice(run, &floor, ret_floor);
	if (ret == 0)
		ret = run_case_slice(run, &sampled, result, &unused);
	if (ret < 0)
		return ret;
	run->sample_count += run->sample_ops * run->thread_count;
	result->ops += run->slice_ops * run->thread_count;
	return 0;
}

static int compare_doubles(const void *a, const void *b)
{
	double left = *(const double *)a;
	double right = *(const double *)b;

	return (left > right) - (left < right);
}

static int compare_samples(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a;
	uint32_t right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static double median(double *values)
{
	qsort(values, BENCH_PAIRS, sizeof(*values), compare_doubles);
	return values[BENCH_PAIRS / 2];
}

/* Smallest sample that at least this share of all samples does not exceed. */
static double percentile(const struct run *run, double share)
{
	uint64_t rank = (uint64_t)(share * (double)run->sample_count);

	return run->samples[rank < run->sample_count ? rank : run->sample_count - 1];
}

static int run_pairs(struct run *run, struct bench_result *result)
{
	double case_ns[BENCH_PAIRS];
	double floor_ns[BENCH_PAIRS];
	double ratios[BENCH_PAIRS];

	for (unsigned i = 0; i < BENCH_PAIRS; i++) {
		struct outcome timed;
		struct outcome floor;
		int ret = run_pair(run, i, result, &timed, &floor);

		if (ret < 0)
			return ret;
		case_ns[i] = timed.ns;
		floor_ns[i] = floor.ns;
		ratios[i] = case_ns[i] / floor_ns[i];
	}
	result->ns_avg = median(case_ns);
	result->floor_ns = median(floor_ns);
	result->ratio = median(ratios);
	qsort(run->samples, run->sample_count, sizeof(*run->samples), compare_samples);
	result->p50_ns = percentile(run, 0.50);
	result->p99_ns = percentile(run, 0.99);
	result->p999_ns = percentile(run, 0.999);
	return 0;
}

/* What one reading of the clock adds to a sample: the median of many. */
static uint64_t clock_cost_ns(void)
{
	uint32_t costs[1001];
	uint64_t last = bench_now_ns();

	for (size_t i = 0; i < sizeof(costs) / sizeof(costs[0]); i++) {
		uint64_t now = bench_now_ns();

		costs[i] = (uint32_t)(now - last);
		last = now;
	}
	qsort(costs, sizeof(costs) / sizeof(costs[0]), sizeof(costs[0]), compare_samples);
	return costs[sizeof(costs) / sizeof(costs[0]) / 2];
}

static int init_worker(struct run *run, unsigned number)
{
	uint64_t block = run->bench_case->block_bytes;
	uint64_t set_blocks = run->env->options.working_set_bytes / block;
	uint64_t region = set_blocks / run->thread_count * block;
	uint64_t floor_part = run->env->floor.size_bytes / run->thread_count / block * block;
	uint64_t hot = block < HOT_BYTES ? HOT_BYTES : 2 * block;
	uint8_t *memory;

	if (region == 0 || floor_part == 0)
		return bench_fail(-EINVAL, "the working set is too small for %u threads", run->thread_count);
	memory = aligned_alloc(4096, hot);
	if (memory == NULL)
		return bench_fail(-ENOMEM, "no memory for the source blocks");
	memset(memory, 0xa5, hot);
	run->workers[number] = (struct bench_worker){
		.env = run->env,
		.bench_case = run->bench_case,
		.hot = memory,
		.hot_bytes = hot,
		.block_bytes = block,
		.rng = number,
		.set_blocks = set_blocks,
		.region_off = number * region,
		.region_bytes = region,
		.floor_off = number * floor_part,
		.floor_bytes = floor_part,
	};
	return 0;
}

static int init_run(struct run *run)
{
	uint64_t sample_bytes = (uint64_t)run->thread_count * BENCH_PAIRS * SAMPLES_PER_SLICE * sizeof(*run->samples);
	int ret = 0;

	run->samples = malloc(sample_bytes);
	run->workers = aligned_alloc(sizeof(*run->workers), run->thread_count * sizeof(*run->workers));
	if (run->samples == NULL || run->workers == NULL)
		return bench_fail(-ENOMEM, "no memory for the samples");
	memset(run->samples, 1, sample_bytes); /* no page fault later */
	memset(run->workers, 0, run->thread_count * sizeof(*run->workers));
	for (unsigned i = 0; i < run->thread_count && ret == 0; i++)
		ret = init_worker(run, i);
	return ret;
}

static void free_run(struct run *run)
{
	for (unsigned i = 0; run->workers != NULL && i < run->thread_count; i++)
		free(run->workers[i].hot);
	free(run->workers);
	free(run->samples);
}

int bench_run_case(struct bench_env *env, const struct bench_case *bench_case, struct bench_result *ret_result)
{
	struct run run = { .env = env, .bench_case = bench_case, .thread_count = env->options.thread_count };
	struct bench_result result = { .name = bench_case->name };
	int ret;

	if (bench_case->writes)
		run.pair_bytes = bench_env_pair_bytes(env);
	run.clock_ns = clock_cost_ns();
	ret = init_run(&run);
	if (ret == 0)
		ret = prepare(&run);
	if (ret == 0)
		ret = calibrate(&run);
	if (ret == 0)
		ret = run_pairs(&run, &result);
	if (ret == 0)
		ret = bench_env_verify(env, bench_case->block_bytes);
	free_run(&run);
	if (ret == 0)
		*ret_result = result;
	return ret;
}
