package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
)

func listen() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("addr=%s\n", l.Addr())
	return l
}

func echoServer() {
	l := listen()
	for {
		c, err := l.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "# accept:", err)
			continue
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 4096)
			for {
				k, err := c.Read(buf)
				if err != nil {
					return
				}
				if _, err = c.Write(buf[:k]); err != nil {
					return
				}
			}
		}()
	}
}

const helloResponse = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!"

func httpServer() {
	l := listen()
	for {
		c, err := l.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "# accept:", err)
			continue
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 4096)
			out := make([]byte, 0, 4096)
			have := 0
			for {
				k, err := c.Read(buf[have:])
				if err != nil {
					return
				}
				have += k
				out = out[:0]
				from := 0
				for {
					e := bytes.Index(buf[from:have], []byte("\r\n\r\n"))
					if e < 0 {
						break
					}
					if !bytes.HasPrefix(buf[from:], []byte("GET ")) {
						return
					}
					from += e + 4
					out = append(out, helloResponse...)
				}
				copy(buf, buf[from:have])
				have -= from
				if have == len(buf) {
					return
				}
				if len(out) > 0 {
					if _, err = c.Write(out); err != nil {
						return
					}
				}
			}
		}()
	}
}

func httpServerLib() {
	l := listen()
	hello := []byte("Hello, World!")
	http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Write(hello)
	}))
}
