// Command node stands in for a Kubernetes node in the tests of ksproxyd.
//
// It registers a Node object, binds the Pods nobody has bound, runs the command of every container as a plain
// process of this machine in a folder of its own, reports the Pods as Running, and answers what a kubelet
// answers to the API server: exec, attach, portForward and containerLogs, over the streaming library of the
// kubelet and its runtimes. There is no isolation whatever: it is for tests on loopback.
//
// A container without a command sleeps until it is stopped. Not done: init containers, probes, volumes,
// restarts.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

type options struct {
	kubeconfig string
	name       string
	folder     string
	certFile   string
	keyFile    string
	clientCA   string
	listen     string
}

func main() {
	var o options
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "how to reach the API server")
	flag.StringVar(&o.name, "name", "node-1", "name of the Node object")
	flag.StringVar(&o.folder, "folder", "", "folder for the files and logs of the containers")
	flag.StringVar(&o.certFile, "tls-cert-file", "", "PEM certificate to serve with")
	flag.StringVar(&o.keyFile, "tls-key-file", "", "PEM key of that certificate")
	flag.StringVar(&o.clientCA, "client-ca-file", "", "PEM certificates that sign the API server's client certificate")
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "address to serve on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, o); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, o options) error {
	tlsConfig, err := serverTLS(o)
	if err != nil {
		return err
	}
	restConfig, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return err
	}
	restConfig.QPS, restConfig.Burst = 200, 400
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	pods := newPods(client, o.name, o.folder)
	defer pods.stopAll()
	server := &http.Server{
		Handler:           newKubelet(pods).handler(),
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: 10 * time.Second,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.ServeTLS(listener, "", "") }()
	defer server.Close()

	address := listener.Addr().(*net.TCPAddr)
	if err := register(ctx, client, o.name, address); err != nil {
		return fmt.Errorf("registering node %s: %w", o.name, err)
	}
	go keepRegistered(ctx, client, o.name, address)
	go bindUnscheduled(ctx, client, o.name)
	go pods.follow(ctx)
	log.Printf("node %s serves on %s", o.name, address)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

func serverTLS(o options) (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(o.certFile, o.keyFile)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(o.clientCA)
	if err != nil {
		return nil, err
	}
	signers := x509.NewCertPool()
	if !signers.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", o.clientCA)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientCAs:    signers,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		MinVersion:   tls.VersionTLS12,
	}, nil
}
