package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	criapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-client/pkg/logs"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

const streamIdleTimeout = 4 * time.Hour

// kubelet answers the part of the kubelet's HTTP API that the API server uses for Pods.
type kubelet struct {
	pods *pods
}

func newKubelet(pods *pods) *kubelet {
	return &kubelet{pods: pods}
}

func (k *kubelet) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", k.exec)
	mux.HandleFunc("/attach/{namespace}/{pod}/{container}", k.attach)
	mux.HandleFunc("/portForward/{namespace}/{pod}", k.portForward)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.containerLogs)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "ok") //nolint:errcheck // the client went away
	})
	return mux
}

// wanted finds the container a request names, or answers 404.
func (k *kubelet) wanted(w http.ResponseWriter, r *http.Request) (*container, bool) {
	c, err := k.pods.container(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return nil, false
	}
	return c, true
}

func (k *kubelet) exec(w http.ResponseWriter, r *http.Request) {
	c, ok := k.wanted(w, r)
	if !ok {
		return
	}
	streams, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, session{c, streams}, "", "", c.name, r.URL.Query()["command"], streams,
		streamIdleTimeout, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (k *kubelet) attach(w http.ResponseWriter, r *http.Request) {
	c, ok := k.wanted(w, r)
	if !ok {
		return
	}
	streams, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeAttach(w, r, session{c, streams}, "", "", c.name, streams,
		streamIdleTimeout, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (k *kubelet) portForward(w http.ResponseWriter, r *http.Request) {
	c, ok := k.wanted(w, r)
	if !ok {
		return
	}
	ports, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, session{container: c}, c.name, "", ports,
		streamIdleTimeout, remotecommand.DefaultStreamCreationTimeout, portforward.SupportedProtocols)
}

func (k *kubelet) containerLogs(w http.ResponseWriter, r *http.Request) {
	c, ok := k.wanted(w, r)
	if !ok {
		return
	}
	options, err := logOptions(r.URL.Query(), time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if c.output == nil {
		http.Error(w, "container was never started", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	var stdout, stderr io.Writer = flushWriter{w, http.NewResponseController(w)}, io.Discard
	switch r.URL.Query().Get("stream") {
	case corev1.LogStreamStderr:
		stdout, stderr = stderr, stdout
	case corev1.LogStreamStdout:
	default:
		stderr = stdout
	}
	err = logs.ReadLogs(r.Context(), c.output.path, c.id, options, runtimeOf{container: c}, stdout, stderr)
	if err != nil && r.Context().Err() == nil {
		log.Printf("log of %s: %v", c.id, err)
	}
}

// logOptions reads the query of a request for a log (the fields of v1.PodLogOptions that say what to send).
func logOptions(query url.Values, now time.Time) (*logs.LogOptions, error) {
	options := &logs.LogOptions{}
	number := func(key string) (*int64, error) {
		if !query.Has(key) {
			return nil, nil
		}
		value, err := strconv.ParseInt(query.Get(key), 10, 64)
		return &value, err
	}
	var seconds *int64
	var problems [6]error
	options.TailLines, problems[0] = number("tailLines")
	options.LimitBytes, problems[1] = number("limitBytes")
	seconds, problems[2] = number("sinceSeconds")
	if seconds != nil {
		options.Since = now.Add(-time.Duration(*seconds) * time.Second)
	}
	if query.Has("sinceTime") {
		options.Since, problems[3] = time.Parse(time.RFC3339, query.Get("sinceTime"))
	}
	if query.Has("follow") {
		options.Follow, problems[4] = strconv.ParseBool(query.Get("follow"))
	}
	if query.Has("timestamps") {
		options.Timestamp, problems[5] = strconv.ParseBool(query.Get("timestamps"))
	}
	return options, errors.Join(problems[:]...)
}

type flushWriter struct {
	writer     io.Writer
	controller *http.ResponseController
}

func (f flushWriter) Write(data []byte) (int, error) {
	n, err := f.writer.Write(data)
	if err != nil {
		return n, err
	}
	return n, f.controller.Flush()
}

// session is a container as the streaming library wants to see it.
type session struct {
	container *container
	streams   *remotecommand.Options
}

// asked drops the streams the client did not ask for: over WebSocket the library passes dummies for them.
func (s session) asked(in io.Reader, out, errOut io.Writer) (io.Reader, io.Writer, io.Writer) {
	if !s.streams.Stdin {
		in = nil
	}
	if !s.streams.Stdout {
		out = nil
	}
	if !s.streams.Stderr {
		errOut = nil
	}
	return in, out, errOut
}

func (s session) ExecInContainer(
	ctx context.Context, _, _, _ string, command []string, in io.Reader, out, errOut io.WriteCloser, tty bool,
	resize <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	stdin, stdout, stderr := s.asked(in, out, errOut)
	return s.container.exec(ctx, command, stdin, stdout, stderr, tty, resize)
}

func (s session) AttachContainer(
	ctx context.Context, _, _, _ string, in io.Reader, out, errOut io.WriteCloser, _ bool,
	resize <-chan remotecommand.TerminalSize,
) error {
	stdin, stdout, stderr := s.asked(in, out, errOut)
	return s.container.attach(ctx, stdin, stdout, stderr, resize)
}

// PortForward joins a stream to a port of this machine, each direction closed on its own.
func (s session) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	defer connection.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(connection, stream)
		connection.(*net.TCPConn).CloseWrite() //nolint:errcheck // it is closed next
		sent <- err
	}()
	_, err = io.Copy(stream, connection)
	stream.Close()
	if err != nil {
		return err
	}
	return <-sent
}

// runtimeOf tells the log reader whether the container still runs, which is all it asks its runtime.
type runtimeOf struct {
	criapi.RuntimeService
	container *container
}

func (r runtimeOf) ContainerStatus(context.Context, string, bool) (*runtimeapi.ContainerStatusResponse, error) {
	state := runtimeapi.ContainerState_CONTAINER_EXITED
	if r.container.running() {
		state = runtimeapi.ContainerState_CONTAINER_RUNNING
	}
	return &runtimeapi.ContainerStatusResponse{Status: &runtimeapi.ContainerStatus{Id: r.container.id, State: state}}, nil
}
