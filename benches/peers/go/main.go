// Command peer-go holds the Go side of the peer benchmarks.
//
//	peer-go SCENARIO [--procs N] [--n N]
//
// One line per figure on stdout; remarks go to stderr and start with "#". The
// Rust peers' `cli` module says what the lines mean; names, sizes and numbers
// of repetitions are theirs.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Repetitions of a short scenario, and of one that takes a good part of a second.
const (
	reps = 21
	few  = 5
)

var (
	procs int
	nArg  int
)

func figure(bench string, n int, v float64, unit string) {
	fmt.Printf("bench=%s peer=go procs=%d n=%d value=%s unit=%s\n",
		bench, procs, n, strconv.FormatFloat(v, 'f', 3, 64), unit)
}

// report prints best, median and 99th percentile of figures where lower is better.
func report(bench string, n int, vals []float64, unit string) {
	s := append([]float64(nil), vals...)
	sort.Float64s(s)
	figure(bench, n, s[0], unit)
	figure(bench+".median", n, s[len(s)/2], unit)
	figure(bench+".p99", n, percentile(s, 0.99), unit)
}

func pick(def int) int {
	if nArg > 0 {
		return nArg
	}
	return def
}

// nsPer warms f up once, then times it `times` times and divides by ops.
func nsPer(times, ops int, f func() time.Duration) []float64 {
	f()
	out := make([]float64, 0, times)
	for i := 0; i < times; i++ {
		out = append(out, float64(f().Nanoseconds())/float64(ops))
	}
	return out
}

func timed(f func()) func() time.Duration {
	return func() time.Duration {
		t := time.Now()
		f()
		return time.Since(t)
	}
}

func memBytes() float64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return math.NaN()
	}
	total := 0.0
	for _, l := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(l, "VmRSS:") || strings.HasPrefix(l, "VmPTE:") {
			f := strings.Fields(l)
			k, _ := strconv.ParseFloat(f[1], 64)
			total += k * 1024
		}
	}
	return total
}

func percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	i := int(math.Ceil(p*float64(len(sorted)))) - 1
	if i < 0 {
		i = 0
	}
	return sorted[i]
}

// splitmix64, so that every peer draws the same kind of numbers cheaply.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb
	return x ^ (x >> 31)
}

func bEnter() {
	procs = 1
	runtime.GOMAXPROCS(1)
	n := pick(500_000)
	report("enter", n, nsPer(reps, n, timed(func() {
		for i := 0; i < n; i++ {
			runtime.Gosched()
		}
	})), "ns")
}

func bYield2() {
	procs = 1
	runtime.GOMAXPROCS(1)
	n := pick(500_000)
	report("yield2", n, nsPer(reps, n, timed(func() {
		var wg sync.WaitGroup
		wg.Add(2)
		for t := 0; t < 2; t++ {
			go func() {
				for i := 0; i < n/2; i++ {
					runtime.Gosched()
				}
				wg.Done()
			}()
		}
		wg.Wait()
	})), "ns")
}

func bSpawnJoin() {
	n := pick(200_000)
	report("spawn_join", n, nsPer(reps, n, timed(func() {
		var wg sync.WaitGroup
		for i := 0; i < n; i++ {
			wg.Add(1)
			go func() { wg.Done() }()
			wg.Wait()
		}
	})), "ns")
}

func bSpawnBatch() {
	n := pick(100_000)
	report("spawn_batch", n, nsPer(reps, n, timed(func() {
		var wg sync.WaitGroup
		wg.Add(n)
		for i := 0; i < n; i++ {
			go func() { wg.Done() }()
		}
		wg.Wait()
	})), "ns")
}

func bPingpong() {
	n := pick(100_000)
	report("pingpong", n, nsPer(reps, n, timed(func() {
		a, b := make(chan int), make(chan int)
		go func() {
			for v := range a {
				b <- v
			}
			close(b)
		}()
		for i := 0; i < n; i++ {
			a <- i
			<-b
		}
		close(a)
		<-b
	})), "ns")
}

// work computes the given number of steps; work20us sets how many take 20 us
// of CPU time: a count, not a time, so that two stages on one processor cannot
// share one stretch of wall time.
//
//go:noinline
func work(steps uint64) {
	x := steps
	for i := uint64(0); i < steps; i++ {
		x = mix(x)
	}
	sink.Store(x)
}

func work20us() uint64 {
	const probe = 100_000
	best := time.Hour
	for i := 0; i < 50; i++ {
		t := time.Now()
		work(probe)
		if d := time.Since(t); d < best {
			best = d
		}
	}
	return uint64(probe * 20_000 / float64(best.Nanoseconds()))
}

func bPipeline() {
	n := pick(2_000)
	steps := work20us()
	report("pipeline", n, nsPer(reps, n, timed(func() {
		c := make(chan int)
		go func() {
			for i := 0; i < n; i++ {
				work(steps)
				c <- i
			}
			close(c)
		}()
		for range c {
			work(steps)
		}
	})), "ns")
}

func chanRun(n, np, nc, capacity int) time.Duration {
	c := make(chan int, capacity)
	var pw, cw sync.WaitGroup
	t := time.Now()
	for p := 0; p < np; p++ {
		pw.Add(1)
		go func() {
			for i := 0; i < n/np; i++ {
				c <- i
			}
			pw.Done()
		}()
	}
	for k := 0; k < nc; k++ {
		cw.Add(1)
		go func() {
			for range c {
			}
			cw.Done()
		}()
	}
	pw.Wait()
	close(c)
	cw.Wait()
	return time.Since(t)
}

func bChan() {
	n := pick(1_000_000)
	report("chan_buffered.1x1", n, nsPer(few, n, func() time.Duration { return chanRun(n, 1, 1, 128) }), "ns")
	report("chan_buffered.4x4", n, nsPer(few, n, func() time.Duration { return chanRun(n, 4, 4, 128) }), "ns")
}

func selectRun(n, capacity int) time.Duration {
	a, b := make(chan int, capacity), make(chan int, capacity)
	send := func(c chan int) {
		for i := 0; i < n/2; i++ {
			c <- i
		}
	}
	t := time.Now()
	go send(a)
	go send(b)
	sum := 0
	for i := 0; i < n/2*2; i++ {
		select {
		case v := <-a:
			sum += v
		case v := <-b:
			sum -= v
		}
	}
	d := time.Since(t)
	if sum != 0 {
		panic("select2 lost items")
	}
	return d
}

func bSelect() {
	n := pick(400_000)
	report("select2", n, nsPer(few, n, func() time.Duration { return selectRun(n, 0) }), "ns")
	report("select2.buf128", n, nsPer(few, n, func() time.Duration { return selectRun(n, 128) }), "ns")
}

func bMutex() {
	n := pick(1_000_000)
	report("mutex_contended", n, nsPer(few, n, timed(func() {
		var mu sync.Mutex
		var wg sync.WaitGroup
		c := 0
		for t := 0; t < 8; t++ {
			wg.Add(1)
			go func() {
				for i := 0; i < n/8; i++ {
					mu.Lock()
					c++
					mu.Unlock()
				}
				wg.Done()
			}()
		}
		wg.Wait()
		if c != n/8*8 {
			panic("mutex broken")
		}
	})), "ns")
}

func bRing() {
	n := pick(500_000)
	const size = 503
	report("ring", n, nsPer(few, n, func() time.Duration {
		cs := make([]chan int, size)
		for i := range cs {
			cs[i] = make(chan int)
		}
		done := make(chan struct{})
		for i := 0; i < size; i++ {
			in, out := cs[i], cs[(i+1)%size]
			go func() {
				for v := range in {
					if v == 0 {
						close(done)
						return
					}
					out <- v - 1
				}
			}()
		}
		time.Sleep(5 * time.Millisecond)
		t := time.Now()
		cs[0] <- n
		<-done
		d := time.Since(t)
		for i := range cs {
			close(cs[i])
		}
		return d
	}), "ns")
}

func skynet(out chan int64, num int64, size int64) {
	if size == 1 {
		out <- num
		return
	}
	rc := make(chan int64)
	var sum int64
	for i := int64(0); i < 10; i++ {
		go skynet(rc, num+i*(size/10), size/10)
	}
	for i := 0; i < 10; i++ {
		sum += <-rc
	}
	out <- sum
}

func bSkynet() {
	n := pick(1_000_000)
	f := func() float64 {
		t := time.Now()
		rc := make(chan int64)
		go skynet(rc, 0, int64(n))
		if s := <-rc; s != int64(n)*(int64(n)-1)/2 {
			panic("skynet sum")
		}
		return float64(time.Since(t).Microseconds()) / 1000
	}
	f()
	var v []float64
	for i := 0; i < few; i++ {
		v = append(v, f())
	}
	report("skynet", n, v, "ms")
}

func bIdle() {
	n := pick(1_000_000)
	runtime.GC()
	never := make(chan struct{})
	var started atomic.Int64
	m0 := memBytes()
	t := time.Now()
	for i := 0; i < n; i++ {
		go func() {
			started.Add(1)
			<-never
		}()
	}
	d := time.Since(t)
	for started.Load() < int64(n) {
		time.Sleep(time.Millisecond)
	}
	d2 := time.Since(t)
	time.Sleep(200 * time.Millisecond)
	m1 := memBytes()
	figure("idle_mem.bytes", n, (m1-m0)/float64(n), "bytes")
	figure("idle_mem.spawn", n, float64(d.Nanoseconds())/1000/float64(n), "us")
	figure("idle_mem.spawn_to_parked", n, float64(d2.Nanoseconds())/1000/float64(n), "us")
	runtime.KeepAlive(never)
}

func bSleep() {
	n := pick(100_000)
	const rounds = 5
	var over, p99s []float64
	for rep := 0; rep <= few; rep++ {
		late := make([]float64, n*rounds)
		var ideal time.Duration
		for i := 0; i < n; i++ {
			var s time.Duration
			for r := 0; r < rounds; r++ {
				s += sleepFor(i*rounds + r)
			}
			if s > ideal {
				ideal = s
			}
		}
		var wg sync.WaitGroup
		wg.Add(n)
		t := time.Now()
		for i := 0; i < n; i++ {
			go func() {
				for r := 0; r < rounds; r++ {
					d := sleepFor(i*rounds + r)
					t := time.Now()
					time.Sleep(d)
					late[i*rounds+r] = float64((time.Since(t) - d).Nanoseconds()) / 1e6
				}
				wg.Done()
			}()
		}
		wg.Wait()
		el := time.Since(t)
		if rep == 0 {
			continue
		}
		sort.Float64s(late)
		over = append(over, float64((el-ideal).Nanoseconds())/1e6)
		p99s = append(p99s, percentile(late, 0.99))
	}
	report("sleep_timers.over_ideal", n, over, "ms")
	report("sleep_timers.late_p99", n, p99s, "ms")
}

func sleepFor(i int) time.Duration {
	return time.Duration(1000+mix(uint64(i))%99001) * time.Microsecond
}

func bContext() {
	n := pick(200_000)
	report("context_timeout", n, nsPer(reps, n, timed(func() {
		server, stop := context.WithCancel(context.Background())
		defer stop()
		for i := 0; i < n; i++ {
			ctx, cancel := context.WithTimeout(server, time.Minute)
			kept = ctx
			cancel()
		}
	})), "ns")
}

// kept keeps the compiler from dropping what is not used.
var kept context.Context

func bPreempt() {
	preempt("preempt", false)
	preempt("preempt_sleeper_first", true)
}

func preempt(name string, sleeperFirst bool) {
	const want = 500
	busy := procs
	var stop atomic.Bool
	var running, done atomic.Int64
	var mu sync.Mutex
	var late []float64
	var wg sync.WaitGroup
	sleeper := func() {
		wg.Add(1)
		go func() {
			for i := 0; i < want && !stop.Load(); i++ {
				t := time.Now()
				time.Sleep(time.Millisecond)
				l := float64((time.Since(t) - time.Millisecond).Nanoseconds()) / 1e6
				mu.Lock()
				late = append(late, l)
				mu.Unlock()
				done.Add(1)
			}
			wg.Done()
		}()
	}
	if sleeperFirst {
		sleeper()
		time.Sleep(20 * time.Millisecond)
	}
	for i := 0; i < busy; i++ {
		wg.Add(1)
		go func() {
			running.Add(1)
			x := uint64(i)
			for !stop.Load() {
				x = mix(x)
			}
			sink.Store(x)
			wg.Done()
		}()
	}
	if !sleeperFirst {
		for t := time.Now(); running.Load() < int64(busy) && time.Since(t) < time.Second; {
			time.Sleep(time.Millisecond)
		}
		sleeper()
	}
	last, lastAt, begin := int64(-1), time.Now(), time.Now()
	starved := false
	for done.Load() < want {
		time.Sleep(5 * time.Millisecond)
		if d := done.Load(); d != last {
			last, lastAt = d, time.Now()
		} else if time.Since(lastAt) > 5*time.Second {
			starved = true
			break
		}
		if time.Since(begin) > 25*time.Second {
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	preemptReport(name, int(done.Load()), starved, late)
}

var sink atomic.Uint64

func preemptReport(name string, done int, starved bool, late []float64) {
	sort.Float64s(late)
	if starved {
		fmt.Fprintf(os.Stderr, "# starved bench=%s peer=go procs=%d after %d sleeps\n", name, procs, done)
		figure(name+".late_p50", done, math.Inf(1), "ms")
		figure(name+".late_p99", done, math.Inf(1), "ms")
		return
	}
	figure(name+".late_p50", done, percentile(late, 0.5), "ms")
	figure(name+".late_p99", done, percentile(late, 0.99), "ms")
}

//go:noinline
func deep(d int) int {
	var buf [1024]byte
	buf[d&1023] = byte(d)
	if d == 0 {
		return int(buf[0])
	}
	r := deep(d - 1)
	return r + int(buf[d&1023]) + int(buf[(d*7)&1023])
}

func bDeep() {
	n := pick(100)
	type res struct{ first, second float64 }
	out := make(chan res)
	never := make(chan struct{})
	runtime.GC()
	run := func() res {
		go func() {
			t := time.Now()
			a := deep(1023)
			d1 := time.Since(t)
			t = time.Now()
			a += deep(1023)
			d2 := time.Since(t)
			sink.Store(uint64(a))
			out <- res{float64(d1.Nanoseconds()) / 1000, float64(d2.Nanoseconds()) / 1000}
			<-never
		}()
		return <-out
	}
	for i := 0; i < 5; i++ {
		run()
	}
	m0 := memBytes()
	var f, s []float64
	for i := 0; i < n; i++ {
		r := run()
		f = append(f, r.first)
		s = append(s, r.second)
	}
	m1 := memBytes()
	report("deep_stack.first", n, f, "us")
	report("deep_stack.second", n, s, "us")
	figure("deep_stack.retained", n, (m1-m0)/float64(n), "bytes")
	// Each collection halves a stack that uses less than a quarter of itself.
	for i := 0; i < 12; i++ {
		runtime.GC()
	}
	m2 := memBytes()
	figure("deep_stack.retained_after_gc", n, (m2-m0)/float64(n), "bytes")
	runtime.KeepAlive(never)
}

var scenarios = map[string]func(){
	"enter":           bEnter,
	"yield2":          bYield2,
	"spawn_join":      bSpawnJoin,
	"spawn_batch":     bSpawnBatch,
	"pingpong":        bPingpong,
	"pipeline":        bPipeline,
	"chan_buffered":   bChan,
	"select2":         bSelect,
	"mutex_contended": bMutex,
	"mutex_alone":     bSync("mutex_alone", reps, 2_000_000, mutexAlone),
	"once_done":       bSync("once_done", reps, 10_000_000, onceDone),
	"rwlock_read":     bSync("rwlock_read", few, 10_000_000, rwlockRead),
	"condvar_wake":    bSync("condvar_wake", reps, 200_000, condvarWake),
	"condvar_all":     bSync("condvar_all", reps, 200_000, condvarAll),
	"wait_group_wake": bSync("wait_group_wake", reps, 200_000, waitGroupWake),
	"ring":            bRing,
	"skynet":          bSkynet,
	"idle_mem":        bIdle,
	"sleep_timers":    bSleep,
	"context_timeout": bContext,
	"preempt":         bPreempt,
	"deep_stack":      bDeep,
	"echo_server":     echoServer,
	"http_server":     httpServer,
	"http_server_lib": httpServerLib,
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: peer-go SCENARIO [--procs N] [--n N]")
		os.Exit(2)
	}
	fs := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	fs.IntVar(&procs, "procs", runtime.NumCPU(), "GOMAXPROCS")
	fs.IntVar(&nArg, "n", 0, "size, 0 = the scenario's own")
	fs.Parse(os.Args[2:])
	run, ok := scenarios[os.Args[1]]
	if !ok {
		fmt.Fprintf(os.Stderr, "# no scenario %s for peer go\n", os.Args[1])
		os.Exit(2)
	}
	runtime.GOMAXPROCS(procs)
	run()
}
