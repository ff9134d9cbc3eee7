/* libvirt, loaded when the first hypervisor is asked for: linked, it would cost every process of ours two dozen
 * libraries and some megabytes, most of which never speak to one. A function is called through the table, with
 * the type libvirt's own header gives it: vir.DomainGetName(dom). Only after virlib_load has said AS_OK. */
#ifndef WIRE_VIRLIB_H
#define WIRE_VIRLIB_H

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdbool.h>

#include "autoscale/error.h"
#include "autoscale/time.h"

/* Every function used, without its "vir"; all are in libvirt 5.10 and later. */
#define VIRLIB_FUNCTIONS(X)                                                                                  \
    X(Initialize) X(SetErrorFunc) X(GetLastError) X(GetLastErrorCode) X(ResetLastError)                      \
    X(EventRegisterDefaultImpl) X(EventRunDefaultImpl)                                                       \
    X(ConnectOpen) X(ConnectClose) X(ConnectRef) X(ConnectIsAlive) X(ConnectSetKeepAlive) X(ConnectGetType)  \
    X(ConnectGetDomainCapabilities) X(ConnectListAllDomains)                                                 \
    X(NodeGetInfo) X(NodeGetMemoryStats)                                                                     \
    X(DomainCreate) X(DomainCreateXML) X(DomainDestroy) X(DomainFree) X(DomainGetID) X(DomainGetInfo)        \
    X(DomainGetMetadata) X(DomainGetName) X(DomainGetState) X(DomainGetUUID) X(DomainIsActive)               \
    X(DomainIsPersistent) X(DomainListGetStats) X(DomainLookupByName) X(DomainLookupByUUID) X(DomainResume)  \
    X(DomainAgentSetResponseTimeout) X(DomainInterfaceAddresses) X(DomainInterfaceFree)                      \
    X(DomainShutdown) X(DomainStatsRecordListFree) X(DomainSuspend) X(DomainUndefineFlags)                   \
    X(DomainDefineXML) X(DomainGetConnect) X(DomainGetXMLDesc) X(DomainHasManagedSaveImage)                  \
    X(DomainManagedSave) X(DomainSetAutostart)                                                               \
    X(NetworkCreateXML) X(NetworkDHCPLeaseFree) X(NetworkFree) X(NetworkGetDHCPLeases) X(NetworkGetXMLDesc)  \
    X(NetworkIsActive) X(NetworkLookupByName) X(NetworkUpdate) X(NetworkIsPersistent)                        \
    X(NetworkDefineXML) X(NetworkSetAutostart) X(NetworkCreate) X(NetworkUndefine)                           \
    X(StoragePoolFree) X(StoragePoolIsActive) X(StoragePoolListAllVolumes) X(StoragePoolLookupByName)        \
    X(StoragePoolRefresh)                                                                                    \
    X(StreamFinish) X(StreamFree) X(StreamNew) X(StreamSend) X(StorageVolUpload)                             \
    X(StorageVolCreateXML) X(StorageVolDelete) X(StorageVolFree) X(StorageVolGetInfo) X(StorageVolGetName)   \
    X(StorageVolGetPath) X(StorageVolGetXMLDesc) X(StorageVolLookupByName) X(StorageVolLookupByPath)

struct virlib {
#define VIRLIB_SLOT(f) __typeof__(vir##f) *f;
    VIRLIB_FUNCTIONS(VIRLIB_SLOT)
#undef VIRLIB_SLOT
};

extern struct virlib vir;

/* Loads the library and starts its event loop, once for the process and for good; from then on libvirt prints
 * nothing itself. Any thread. AS_EUNSUP: it is not installed; asked again it looks again. */
int virlib_load(struct as_error *err);

/* Turns this thread's last libvirt error into one of ours; `at` is the hypervisor's URI. `wrote`: the call may
 * have had its effect when the connection was lost during it. */
int virlib_refused(const char *at, bool wrote, const char *what, struct as_error *err);

#endif
