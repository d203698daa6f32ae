// Package load makes TCP connections and answers them with as little work as
// possible, so that what is measured is the way between the two: a Client that
// asks or downloads on many connections, and an Endpoint in the place of a pod.
// Each is one thread with epoll.
//
// A question has 100 bytes, of which the first says what is wanted, and an answer
// 1000, of which the first says whether a header of the PROXY protocol came before
// the question.
//
// System calls are made without telling Go's scheduler, which would otherwise hand
// the processor on at each of them. That takes a processor of GOMAXPROCS for each
// thread that is at work.
package load
