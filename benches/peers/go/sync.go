package main

import (
	"sync"
	"time"
)

// Waiters of condvar_all.
const waiters = 100

// A table to look things up in, as the Rust peers have.
func table() []uint64 {
	t := make([]uint64, 1024)
	for i := range t {
		t[i] = uint64(i) * 0x9e3779b97f4a7c15
	}
	return t
}

// lookup takes about as long as finding a key in a small map.
func lookup(t []uint64, key int) uint64 {
	at := uint64(key)
	for i := 0; i < 8; i++ {
		at = t[at%1024] >> 7
	}
	return at
}

// bSync is the scenario that times f.
func bSync(name string, times, def int, f func(n int) time.Duration) func() {
	return func() {
		n := pick(def)
		report(name, n, nsPer(times, n, func() time.Duration { return f(n) }), "ns")
	}
}

func mutexAlone(n int) time.Duration {
	var m sync.Mutex
	count := 0
	t := time.Now()
	for i := 0; i < n; i++ {
		m.Lock()
		count++
		m.Unlock()
	}
	took := time.Since(t)
	if count != n {
		panic("lost counts")
	}
	return took
}

func onceDone(n int) time.Duration {
	once := new(sync.Once)
	once.Do(func() {})
	t := time.Now()
	for i := 0; i < n; i++ {
		once.Do(func() { panic("twice") })
	}
	return time.Since(t)
}

func rwlockRead(n int) time.Duration {
	var lock sync.RWMutex
	var group sync.WaitGroup
	values := table()
	t := time.Now()
	for seed := 0; seed < 8; seed++ {
		group.Go(func() {
			var sum uint64
			for i := 0; i < n/8; i++ {
				lock.RLock()
				sum += lookup(values, seed+i)
				lock.RUnlock()
			}
			sink.Add(sum)
		})
	}
	group.Wait()
	return time.Since(t)
}

func condvarWake(n int) time.Duration {
	var m sync.Mutex
	there, back := sync.NewCond(&m), sync.NewCond(&m)
	turn := 0
	t := time.Now()
	go func() {
		for i := 0; i < n/2; i++ {
			m.Lock()
			for turn == 2*i {
				there.Wait()
			}
			turn++
			back.Signal()
			m.Unlock()
		}
	}()
	for i := 0; i < n/2; i++ {
		m.Lock()
		turn++
		there.Signal()
		for turn == 2*i+1 {
			back.Wait()
		}
		m.Unlock()
	}
	return time.Since(t)
}

func condvarAll(n int) time.Duration {
	rounds := n / waiters
	var m sync.Mutex
	begin, all := sync.NewCond(&m), sync.NewCond(&m)
	at, here := 0, 0
	t := time.Now()
	for i := 0; i < waiters; i++ {
		go func() {
			m.Lock()
			defer m.Unlock()
			for round := 0; round < rounds; round++ {
				here++
				if here == waiters {
					all.Signal()
				}
				for at == round {
					begin.Wait()
				}
			}
		}()
	}
	m.Lock()
	defer m.Unlock()
	for round := 0; round < rounds; round++ {
		for here < waiters {
			all.Wait()
		}
		at, here = at+1, 0
		begin.Broadcast()
	}
	return time.Since(t)
}

func waitGroupWake(n int) time.Duration {
	var there, back sync.WaitGroup
	there.Add(1)
	back.Add(1)
	t := time.Now()
	go func() {
		for i := 0; i < n/2; i++ {
			there.Wait()
			there.Add(1)
			back.Done()
		}
	}()
	for i := 0; i < n/2; i++ {
		there.Done()
		back.Wait()
		back.Add(1)
	}
	return time.Since(t)
}
