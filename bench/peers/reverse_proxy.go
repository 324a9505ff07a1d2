// The reverse proxy of Go's standard library, as its documentation shows it, with enough idle connections kept.
//
// Usage: reverse_proxy LISTEN UPSTREAM [CA-FILE]
package main

import (
	"crypto/tls"
	"crypto/x509"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

func main() {
	upstream, err := url.Parse(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.MaxIdleConns = 0
	transport.MaxIdleConnsPerHost = 100
	// As an answer is asked for, so it is handed on.
	transport.DisableCompression = true
	transport.ForceAttemptHTTP2 = false
	if len(os.Args) > 3 {
		pem, err := os.ReadFile(os.Args[3])
		if err != nil {
			log.Fatal(err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			log.Fatalf("%s holds no certificate", os.Args[3])
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(request *httputil.ProxyRequest) {
			request.SetURL(upstream)
			request.SetXForwarded()
		},
	}
	log.Fatal(http.ListenAndServe(os.Args[1], proxy))
}
