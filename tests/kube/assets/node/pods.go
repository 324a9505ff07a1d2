package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// pods keeps the Pods bound to this node and the processes of their containers in step.
type pods struct {
	client kubernetes.Interface
	node   string
	folder string

	mutex sync.Mutex
	byUID map[types.UID]*pod
}

// pod is one Pod that was started here.
type pod struct {
	namespace  string
	name       string
	uid        types.UID
	spec       corev1.PodSpec
	started    metav1.Time
	containers []*container
}

func newPods(client kubernetes.Interface, node, folder string) *pods {
	return &pods{client: client, node: node, folder: folder, byUID: map[types.UID]*pod{}}
}

// follow watches the Pods of this node until ctx ends.
func (p *pods) follow(ctx context.Context) {
	watch := cache.NewListWatchFromClient(
		p.client.CoreV1().RESTClient(), "pods", metav1.NamespaceAll,
		fields.OneTermEqualSelector("spec.nodeName", p.node))
	seen := func(object interface{}) {
		if object, ok := object.(*corev1.Pod); ok {
			p.sync(ctx, object)
		}
	}
	gone := func(object interface{}) {
		if final, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = final.Obj
		}
		if object, ok := object.(*corev1.Pod); ok {
			p.stop(object.UID)
		}
	}
	_, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: watch,
		ObjectType:    &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    seen,
			UpdateFunc: func(_, object interface{}) { seen(object) },
			DeleteFunc: gone,
		},
		ResyncPeriod: registrationPeriod,
	})
	controller.RunWithContext(ctx)
}

func (p *pods) sync(ctx context.Context, object *corev1.Pod) {
	if object.DeletionTimestamp != nil {
		p.stop(object.UID)
		immediately := metav1.NewDeleteOptions(0)
		immediately.Preconditions = metav1.NewUIDPreconditions(string(object.UID))
		err := p.client.CoreV1().Pods(object.Namespace).Delete(ctx, object.Name, *immediately)
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			log.Printf("deleting %s/%s: %v", object.Namespace, object.Name, err)
		}
		return
	}
	p.mutex.Lock()
	own, known := p.byUID[object.UID]
	if !known {
		own = p.start(ctx, object)
		p.byUID[object.UID] = own
	}
	p.mutex.Unlock()
	if err := p.report(ctx, own, object); err != nil {
		log.Printf("status of %s/%s: %v", object.Namespace, object.Name, err)
	}
}

func (p *pods) start(ctx context.Context, object *corev1.Pod) *pod {
	own := &pod{
		namespace: object.Namespace, name: object.Name, uid: object.UID,
		spec: object.Spec, started: metav1.Now(),
	}
	for i := range object.Spec.Containers {
		spec := &object.Spec.Containers[i]
		folder := filepath.Join(p.folder, fmt.Sprintf("%s_%s_%s", object.Namespace, object.Name, object.UID), spec.Name)
		ended := func() {
			latest, err := p.client.CoreV1().Pods(own.namespace).Get(ctx, own.name, metav1.GetOptions{})
			if err == nil && latest.UID == own.uid {
				err = p.report(ctx, own, latest)
			}
			if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
				log.Printf("status of %s/%s: %v", own.namespace, own.name, err)
			}
		}
		own.containers = append(own.containers, startContainer(spec, object, folder, ended))
	}
	return own
}

// report writes the Pod's status if it differs from what the processes are.
func (p *pods) report(ctx context.Context, own *pod, object *corev1.Pod) error {
	status := own.status()
	if object.Status.Phase == status.Phase && sameStates(object.Status.ContainerStatuses, status.ContainerStatuses) {
		return nil
	}
	patch, err := json.Marshal(map[string]interface{}{
		"metadata": map[string]interface{}{"uid": own.uid},
		"status":   status,
	})
	if err != nil {
		return err
	}
	_, err = p.client.CoreV1().Pods(own.namespace).Patch(
		ctx, own.name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // it is deleted, or deleted and made again: the watch tells
	}
	return err
}

func sameStates(a, b []corev1.ContainerStatus) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].ContainerID != b[i].ContainerID || (a[i].State.Terminated == nil) != (b[i].State.Terminated == nil) {
			return false
		}
	}
	return true
}

func (o *pod) status() corev1.PodStatus {
	statuses := make([]corev1.ContainerStatus, 0, len(o.containers))
	running, failed := false, false
	for _, c := range o.containers {
		status := c.status()
		if status.State.Terminated == nil {
			running = true
		} else if status.State.Terminated.ExitCode != 0 {
			failed = true
		}
		statuses = append(statuses, status)
	}
	phase, ready := corev1.PodSucceeded, corev1.ConditionFalse
	switch {
	case running:
		phase, ready = corev1.PodRunning, corev1.ConditionTrue
	case failed:
		phase = corev1.PodFailed
	}
	conditions := make([]corev1.PodCondition, 0, 4)
	for _, kind := range []corev1.PodConditionType{
		corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled,
	} {
		value := ready
		if kind == corev1.PodInitialized || kind == corev1.PodScheduled {
			value = corev1.ConditionTrue
		}
		conditions = append(conditions, corev1.PodCondition{Type: kind, Status: value, LastTransitionTime: o.started})
	}
	return corev1.PodStatus{
		Phase: phase, Conditions: conditions, StartTime: &o.started, ContainerStatuses: statuses,
		HostIP: "127.0.0.1", PodIP: "127.0.0.1", PodIPs: []corev1.PodIP{{IP: "127.0.0.1"}},
	}
}

// container finds a running Pod's container by the names the API server uses.
func (p *pods) container(namespace, name, containerName string) (*container, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, own := range p.byUID {
		if own.namespace != namespace || own.name != name {
			continue
		}
		for _, c := range own.containers {
			if c.name == containerName || containerName == "" {
				return c, nil
			}
		}
		return nil, fmt.Errorf("container %q not found in pod %q", containerName, name)
	}
	return nil, fmt.Errorf("pod %q does not exist", name)
}

func (p *pods) stop(uid types.UID) {
	p.mutex.Lock()
	own, known := p.byUID[uid]
	delete(p.byUID, uid)
	p.mutex.Unlock()
	if known {
		own.stop()
	}
}

func (p *pods) stopAll() {
	p.mutex.Lock()
	all := p.byUID
	p.byUID = map[types.UID]*pod{}
	p.mutex.Unlock()
	for _, own := range all {
		own.stop()
	}
}

// stop ends the processes: politely, then for certain.
func (o *pod) stop() {
	grace := 2 * time.Second
	if o.spec.TerminationGracePeriodSeconds != nil {
		grace = min(grace, time.Duration(*o.spec.TerminationGracePeriodSeconds)*time.Second)
	}
	var group sync.WaitGroup
	for _, c := range o.containers {
		group.Go(func() { c.stop(grace) })
	}
	group.Wait()
}
