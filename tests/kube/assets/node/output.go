package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// output takes what a container's process writes, into a log file of the format of the Container Runtime
// Interface ("time stream F|P text", P for a line that goes on) and to the clients that are attached.
type output struct {
	stdout, stderr io.Writer
	path           string

	mutex    sync.Mutex
	file     *os.File
	buffered *bufio.Writer
	clients  map[io.Writer]*client
}

type client struct {
	stream string
	gone   chan struct{}
	once   *sync.Once
}

type streamWriter struct {
	output *output
	stream string
}

func newOutput(path string) (*output, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	o := &output{path: path, file: file, buffered: bufio.NewWriter(file), clients: map[io.Writer]*client{}}
	o.stdout, o.stderr = streamWriter{o, "stdout"}, streamWriter{o, "stderr"}
	return o, nil
}

func (w streamWriter) Write(data []byte) (int, error) {
	o := w.output
	o.mutex.Lock()
	defer o.mutex.Unlock()
	for writer, c := range o.clients {
		if c.stream != w.stream {
			continue
		}
		if _, err := writer.Write(data); err != nil {
			delete(o.clients, writer)
			c.once.Do(func() { close(c.gone) })
		}
	}
	now := time.Now().UTC().Format(time.RFC3339Nano)
	for rest := data; len(rest) > 0; {
		line, tag, used := rest, "P", len(rest)
		for i, b := range rest {
			if b == '\n' {
				line, tag, used = rest[:i], "F", i+1
				break
			}
		}
		if _, err := fmt.Fprintf(o.buffered, "%s %s %s %s\n", now, w.stream, tag, line); err != nil {
			return len(data) - len(rest), err
		}
		rest = rest[used:]
	}
	return len(data), o.buffered.Flush()
}

// join adds an attached client's writers, each of which may be nil; the channel closes when one of them fails.
func (o *output) join(stdout, stderr io.Writer) <-chan struct{} {
	gone, once := make(chan struct{}), &sync.Once{}
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if stdout != nil {
		o.clients[stdout] = &client{"stdout", gone, once}
	}
	if stderr != nil {
		o.clients[stderr] = &client{"stderr", gone, once}
	}
	return gone
}

func (o *output) leave(stdout, stderr io.Writer) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	delete(o.clients, stdout)
	delete(o.clients, stderr)
}

func (o *output) close() error {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if err := o.buffered.Flush(); err != nil {
		return err
	}
	return o.file.Close()
}
