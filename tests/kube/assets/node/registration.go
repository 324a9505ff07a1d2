package main

import (
	"context"
	"log"
	"net"
	"runtime"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// The registration is looked at this often, because a test may put the API server's data back to a time
// before it.
const registrationPeriod = 2 * time.Second

func register(ctx context.Context, client kubernetes.Interface, name string, address *net.TCPAddr) error {
	nodes := client.CoreV1().Nodes()
	node, err := nodes.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		node, err = nodes.Create(ctx, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
				corev1.LabelHostname:   name,
				corev1.LabelOSStable:   runtime.GOOS,
				corev1.LabelArchStable: runtime.GOARCH,
			}},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		return err
	}
	if node.Status.DaemonEndpoints.KubeletEndpoint.Port == int32(address.Port) {
		return nil
	}
	now := metav1.Now()
	size := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("2"),
		corev1.ResourceMemory: resource.MustParse("4Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
	}
	node.Status = corev1.NodeStatus{
		Capacity:    size,
		Allocatable: size,
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: address.IP.String()},
			{Type: corev1.NodeHostName, Address: name},
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{
			KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(address.Port)},
		},
		Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Serving",
			LastHeartbeatTime: now, LastTransitionTime: now,
		}},
	}
	_, err = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{})
	return err
}

func keepRegistered(ctx context.Context, client kubernetes.Interface, name string, address *net.TCPAddr) {
	ticker := time.NewTicker(registrationPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		attempt, cancel := context.WithTimeout(ctx, registrationPeriod)
		if err := register(attempt, client, name, address); err != nil {
			log.Printf("node registration: %v", err)
		}
		cancel()
	}
}

// bindUnscheduled is the whole scheduler: there is one node.
func bindUnscheduled(ctx context.Context, client kubernetes.Interface, node string) {
	watch := cache.NewListWatchFromClient(
		client.CoreV1().RESTClient(), "pods", metav1.NamespaceAll, fields.OneTermEqualSelector("spec.nodeName", ""))
	bind := func(object interface{}) {
		pod, ok := object.(*corev1.Pod)
		if !ok || pod.DeletionTimestamp != nil {
			return
		}
		err := client.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID},
			Target:     corev1.ObjectReference{Kind: "Node", Name: node},
		}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			log.Printf("binding %s/%s: %v", pod.Namespace, pod.Name, err)
		}
	}
	_, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: watch,
		ObjectType:    &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    bind,
			UpdateFunc: func(_, object interface{}) { bind(object) },
		},
		ResyncPeriod: registrationPeriod,
	})
	controller.RunWithContext(ctx)
}
