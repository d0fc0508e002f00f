// What programs built on client-go rely on, with protobuf wherever there is one: informers, leader election, the dynamic
// and the metadata client, server-side apply.
//
//	client KUBECONFIG-OF-ONE-REPLICA KUBECONFIG-OF-ANOTHER
//
// Writes through the first, reads and watches through the second. Prints a line for each part, and ends with 1 at the
// first that is not as it should be.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
)

const (
	namespace = "client-go"
	protobuf  = "application/vnd.kubernetes.protobuf"
	patience  = 60 * time.Second
)

var maps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// counter counts the media types of answers.
type counter struct {
	mutex sync.Mutex
	seen  map[string]int
}

func (c *counter) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(request)
		if err == nil {
			c.mutex.Lock()
			defer c.mutex.Unlock()
			c.seen[response.Header.Get("Content-Type")]++
		}
		return response, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

type clients struct {
	config   *rest.Config
	typed    kubernetes.Interface
	dynamic  dynamic.Interface
	metadata metadata.Interface
	answers  *counter
}

func connect(kubeconfig string) (*clients, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 500, 500
	own := &clients{config: config, answers: &counter{seen: map[string]int{}}}
	config.Wrap(own.answers.wrap)
	binary := rest.CopyConfig(config)
	binary.ContentType = protobuf
	binary.AcceptContentTypes = protobuf + ",application/json"
	if own.typed, err = kubernetes.NewForConfig(binary); err != nil {
		return nil, err
	}
	if own.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	own.metadata, err = metadata.NewForConfig(metadata.ConfigFor(config))
	return own, err
}

// protobufOnly fails when an answer since the last call was anything else.
func (c *clients) protobufOnly() error {
	c.answers.mutex.Lock()
	defer c.answers.mutex.Unlock()
	for media, count := range c.answers.seen {
		if !strings.HasPrefix(media, protobuf) {
			return fmt.Errorf("%d answers were %q", count, media)
		}
	}
	if len(c.answers.seen) == 0 {
		return errors.New("nothing was answered")
	}
	c.answers.seen = map[string]int{}
	return nil
}

func (c *clients) forget() {
	c.answers.mutex.Lock()
	defer c.answers.mutex.Unlock()
	c.answers.seen = map[string]int{}
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"of": "client-go"}}, Data: data}
}

// eventually waits until the look is content.
func eventually(what string, look func() bool) error {
	deadline := time.Now().Add(patience)
	for !look() {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %s", what, patience)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// seen notes what handlers are told.
type seen struct {
	mutex sync.Mutex
	lines []string
}

func (s *seen) add(format string, arguments ...any) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, arguments...))
}

func (s *seen) is(lines ...string) func() bool {
	return func() bool {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		return strings.Join(s.lines, "; ") == strings.Join(lines, "; ")
	}
}

func (s *seen) handlers() cache.ResourceEventHandlerDetailedFuncs {
	name := func(object any) string {
		if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = gone.Obj
		}
		return object.(metav1.Object).GetName()
	}
	return cache.ResourceEventHandlerDetailedFuncs{
		AddFunc:    func(object any, initial bool) { s.add("+%s initial=%t", name(object), initial) },
		UpdateFunc: func(_, object any) { s.add("~%s", name(object)) },
		DeleteFunc: func(object any) { s.add("-%s", name(object)) },
	}
}

func typedInformers(ctx context.Context, one, two *clients) error {
	own := one.typed.CoreV1().ConfigMaps(namespace)
	if _, err := own.Create(ctx, configMap("first", nil), metav1.CreateOptions{}); err != nil {
		return err
	}
	two.forget()
	selected := informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = "of=client-go" })
	factory := informers.NewSharedInformerFactoryWithOptions(two.typed, 0, informers.WithNamespace(namespace), selected)
	informer, told := factory.Core().V1().ConfigMaps(), &seen{}
	registered, err := informer.Informer().AddEventHandler(told.handlers())
	if err != nil {
		return err
	}
	err = informer.Informer().AddIndexers(cache.Indexers{"a": func(object any) ([]string, error) {
		return []string{object.(*corev1.ConfigMap).Data["a"]}, nil
	}})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer factory.Shutdown()
	defer stop()
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), registered.HasSynced) {
		return errors.New("the informer does not sync")
	}
	made, err := own.Create(ctx, configMap("second", map[string]string{"a": "1"}), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	stale := made.DeepCopy()
	made.Data["a"] = "2"
	if _, err = own.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if _, err = own.Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("a stale update: %v", err)
	}
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		fresh, err := own.Get(ctx, "second", metav1.GetOptions{})
		if err != nil {
			return err
		}
		fresh.Data["b"] = "3"
		_, err = own.Update(ctx, fresh, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	if err = own.Delete(ctx, "first", metav1.DeleteOptions{}); err != nil {
		return err
	}
	wanted := []string{"+first initial=true", "+second initial=false", "~second", "~second", "-first"}
	if err = eventually("handlers are told of everything in order", told.is(wanted...)); err != nil {
		return fmt.Errorf("%w: %v", err, told.lines)
	}
	listed, err := informer.Lister().ConfigMaps(namespace).List(labels.Everything())
	if err != nil || len(listed) != 1 {
		return fmt.Errorf("listed %d objects, %v", len(listed), err)
	}
	if found, err := informer.Informer().GetIndexer().ByIndex("a", "2"); err != nil || len(found) != 1 {
		return fmt.Errorf("%d objects by index, %v", len(found), err)
	}
	_, err = own.Get(ctx, "first", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("a deleted object: %v", err)
	}
	return two.protobufOnly()
}

func leaders(ctx context.Context, one, two *clients) error {
	told := &seen{}
	run := func(ctx context.Context, client kubernetes.Interface, identity string) error {
		lock := &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: "leader"},
			Client:     client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		}
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, Name: "test", ReleaseOnCancel: true,
			LeaseDuration: 6 * time.Second, RenewDeadline: 4 * time.Second, RetryPeriod: 200 * time.Millisecond,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { told.add("%s leads", identity) },
				OnStoppedLeading: func() {},
			},
		})
		if err == nil {
			go elector.Run(ctx)
		}
		return err
	}
	first, resign := context.WithCancel(ctx)
	defer resign()
	if err := run(first, one.typed, "a"); err != nil {
		return err
	}
	if err := eventually("the first leads", told.is("a leads")); err != nil {
		return err
	}
	second, end := context.WithCancel(ctx)
	defer end()
	if err := run(second, two.typed, "b"); err != nil {
		return err
	}
	time.Sleep(time.Second)
	if !told.is("a leads")() {
		return fmt.Errorf("two lead: %v", told.lines)
	}
	resign()
	if err := eventually("the second leads after it", told.is("a leads", "b leads")); err != nil {
		return err
	}
	lease, err := one.typed.CoordinationV1().Leases(namespace).Get(ctx, "leader", metav1.GetOptions{})
	if err != nil || *lease.Spec.HolderIdentity != "b" || *lease.Spec.LeaseTransitions < 1 {
		return fmt.Errorf("the lease: %v, %v", lease, err)
	}
	return nil
}

func lease(name string, seconds int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
		"metadata": map[string]any{"name": name, "labels": map[string]any{"of": "client-go"}},
		"spec":     map[string]any{"leaseDurationSeconds": seconds},
	}}
}

func dynamicClient(ctx context.Context, one, two *clients) error {
	leases := schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
	own, selected := one.dynamic.Resource(leases).Namespace(namespace), metav1.ListOptions{LabelSelector: "of=client-go"}
	tweak := func(options *metav1.ListOptions) { options.LabelSelector = selected.LabelSelector }
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(two.dynamic, 0, namespace, tweak)
	informer, told := factory.ForResource(leases).Informer(), &seen{}
	if _, err := informer.AddEventHandler(told.handlers()); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer factory.Shutdown()
	defer stop()
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return errors.New("the dynamic informer does not sync")
	}
	if _, err := own.Create(ctx, lease("long", 20), metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := own.Create(ctx, lease("none", 0), metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		return fmt.Errorf("no duration: %v", err)
	}
	patch := []byte(`{"spec": {"leaseDurationSeconds": 30}}`)
	patched, err := own.Patch(ctx, "long", types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return err
	}
	if seconds, _, err := unstructured.NestedInt64(patched.Object, "spec", "leaseDurationSeconds"); err != nil || seconds != 30 {
		return fmt.Errorf("patched: %v, %v", patched, err)
	}
	if err := own.DeleteCollection(ctx, metav1.DeleteOptions{}, selected); err != nil {
		return err
	}
	if err := eventually("handlers are told", told.is("+long initial=false", "~long", "-long")); err != nil {
		return fmt.Errorf("%w: %v", err, told.lines)
	}
	return nil
}

func metadataClient(ctx context.Context, one, two *clients) error {
	if _, err := one.typed.CoreV1().ConfigMaps(namespace).Create(ctx, configMap("meta", map[string]string{"a": "1"}), metav1.CreateOptions{}); err != nil {
		return err
	}
	two.forget()
	own := two.metadata.Resource(maps).Namespace(namespace)
	list, err := own.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil || len(list.Items) != 1 || list.Continue == "" {
		return fmt.Errorf("a page of one: %v, %v", list, err)
	}
	watcher, err := own.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=meta", ResourceVersion: list.ResourceVersion})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	patched, err := own.Patch(ctx, "meta", types.MergePatchType, []byte(`{"metadata": {"labels": {"seen": "yes"}}}`), metav1.PatchOptions{})
	if err != nil || patched.Labels["seen"] != "yes" {
		return fmt.Errorf("patched: %v, %v", patched, err)
	}
	select {
	case event := <-watcher.ResultChan():
		object, ok := event.Object.(*metav1.PartialObjectMetadata)
		if !ok || event.Type != watch.Modified || object.Labels["seen"] != "yes" {
			return fmt.Errorf("an event: %v", event)
		}
	case <-time.After(patience):
		return errors.New("no event")
	}
	return two.protobufOnly()
}

func apply(ctx context.Context, one, two *clients) error {
	own, others := one.typed.CoreV1().ConfigMaps(namespace), two.typed.CoreV1().ConfigMaps(namespace)
	of := func(data map[string]string) *applycore.ConfigMapApplyConfiguration {
		return applycore.ConfigMap("applied", namespace).WithData(data)
	}
	by := func(manager string, force bool) metav1.ApplyOptions {
		return metav1.ApplyOptions{FieldManager: manager, Force: force}
	}
	if _, err := own.Apply(ctx, of(map[string]string{"a": "1", "b": "1"}), by("one", false)); err != nil {
		return err
	}
	_, err := others.Apply(ctx, of(map[string]string{"a": "2"}), by("two", false))
	if !apierrors.IsConflict(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict) {
		return fmt.Errorf("a conflict: %v", err)
	}
	if _, err = others.Apply(ctx, of(map[string]string{"a": "2"}), by("two", true)); err != nil {
		return err
	}
	applied, err := own.Apply(ctx, of(map[string]string{}), by("one", false))
	if err != nil || len(applied.Data) != 1 || applied.Data["a"] != "2" {
		return fmt.Errorf("what nobody applies any more is gone: %v, %v", applied, err)
	}
	extracted, err := applycore.ExtractConfigMap(applied, "two")
	if err != nil || extracted.Data["a"] != "2" {
		return fmt.Errorf("extracted: %v, %v", extracted, err)
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "applied"}, "data": map[string]any{"c": "3"},
	}}
	answer, err := one.dynamic.Resource(maps).Namespace(namespace).Apply(ctx, "applied", object, by("three", false))
	if err != nil {
		return err
	}
	data, _, err := unstructured.NestedStringMap(answer.Object, "data")
	if err != nil || len(data) != 2 {
		return fmt.Errorf("applied by the dynamic client: %v, %v", data, err)
	}
	return nil
}

func run(kubeconfigs []string) error {
	if len(kubeconfigs) != 2 {
		return errors.New("two kubeconfigs are needed")
	}
	one, err := connect(kubeconfigs[0])
	if err != nil {
		return err
	}
	two, err := connect(kubeconfigs[1])
	if err != nil {
		return err
	}
	ctx, end := context.WithTimeout(context.Background(), 5*patience)
	defer end()
	var object runtime.Object
	object, err = one.typed.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("%v: %w", object, err)
	}
	parts := []struct {
		name string
		run  func(context.Context, *clients, *clients) error
	}{
		{"informers", typedInformers},
		{"leader election", leaders},
		{"dynamic client", dynamicClient},
		{"metadata client", metadataClient},
		{"server-side apply", apply},
	}
	for _, part := range parts {
		if err := part.run(ctx, one, two); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		fmt.Printf("client-go: %s: ok\n", part.name)
	}
	return one.typed.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "client-go:", err)
		os.Exit(1)
	}
}
